import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { LogFile, systemDisk } from '../../../../../dom0/backends/consoled/log-file.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-log-'));
const path = join(dir, 'console-a.log');
const text = (s: string): Uint8Array => Buffer.from(s);
afterEach(() => rmSync(path, { force: true }));
afterAll(() => rmSync(dir, { recursive: true }));

describe('a console log', () => {
  it('appends what is written, for its owner alone', () => {
    const log = new LogFile(path);
    log.write(text('one\n'));
    log.write(text('two\n'));
    log.close();
    const again = new LogFile(path);
    again.write(text('three\n'));
    again.close();
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\nthree\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('never holds more than its bound; what was full is kept once', () => {
    const log = new LogFile(path, systemDisk, 10);
    for (const line of ['aaaa\n', 'bbbb\n', 'cccc\n', 'dddd\n', 'eeee\n']) log.write(text(line));
    log.close();
    expect(readFileSync(path, 'utf8')).toBe('eeee\n');
    expect(readFileSync(`${path}.1`, 'utf8')).toBe('cccc\ndddd\n');
  });

  it('counts what an earlier run has left against its bound', () => {
    const first = new LogFile(path, systemDisk, 10);
    first.write(text('12345678'));
    first.close();
    const second = new LogFile(path, systemDisk, 10);
    second.write(text('a'));
    second.write(text('bcd'));
    second.close();
    expect(readFileSync(`${path}.1`, 'utf8')).toBe('12345678a');
    expect(readFileSync(path, 'utf8')).toBe('bcd');
  });

  it('writes on where the disk took only a part', () => {
    const taken: string[] = [];
    const disk = {
      ...systemDisk,
      open: () => ({ fd: 1, size: 0 }),
      close: () => {},
      write: (_fd: number, bytes: Uint8Array) => {
        taken.push(Buffer.from(bytes.subarray(0, 2)).toString());
        return Math.min(2, bytes.length);
      },
    };
    new LogFile(path, disk).write(text('abcde'));
    expect(taken).toEqual(['ab', 'cd', 'e']);
  });

  it('passes the failure of a full disk on, and works again when there is room', () => {
    let full = true;
    const written: string[] = [];
    const disk = {
      ...systemDisk,
      open: () => ({ fd: 1, size: 0 }),
      close: () => {},
      write: (_fd: number, bytes: Uint8Array) => {
        if (full) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
        written.push(Buffer.from(bytes).toString());
        return bytes.length;
      },
    };
    const log = new LogFile(path, disk);
    expect(() => log.write(text('lost'))).toThrow('ENOSPC');
    full = false;
    log.write(text('kept'));
    expect(written).toEqual(['kept']);
  });
});
