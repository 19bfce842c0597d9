import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkRunDirVersion, makeRunDir, runDir, runPaths } from '#pvbus';

/** Of 107 bytes the longest name of a socket takes 20. */
const MAX_DIR = 87;

describe('the run directory', () => {
  it('is XENOLITH_RUN_DIR, else below XDG_RUNTIME_DIR, else in /tmp, with the host’s name', () => {
    expect(runDir({ XENOLITH_RUN_DIR: '/run/x', XDG_RUNTIME_DIR: '/run/user/1' })).toBe('/run/x');
    expect(runDir({ XDG_RUNTIME_DIR: '/run/user/1' })).toBe('/run/user/1/xenolith/default');
    expect(runDir({ XDG_RUNTIME_DIR: '/run/user/1', XENOLITH_HOST: 'b.2' })).toBe('/run/user/1/xenolith/b.2');
    expect(runDir({ XENOLITH_HOST: 'b' })).toBe(`/tmp/xenolith-${process.getuid?.()}/b`);
  });

  it.each(['..', '.', '../x', 'a/b', '-x', 'a b', 'x'.repeat(65)])('refuses a host called %j', name => {
    expect(() => runDir({ XENOLITH_HOST: name })).toThrow('host name');
  });

  it('refuses relative directories', () => {
    expect(() => runDir({ XENOLITH_RUN_DIR: 'here' })).toThrow('not an absolute path');
    expect(() => runDir({ XDG_RUNTIME_DIR: 'here' })).toThrow('not an absolute path');
  });

  it('refuses one whose sockets nobody could connect to, and says which', () => {
    const fits = `/${'x'.repeat(MAX_DIR - 1)}`;
    expect(runDir({ XENOLITH_RUN_DIR: fits })).toBe(fits);
    const { takeOverSocket } = runPaths(`${fits}x`);
    expect(() => runDir({ XENOLITH_RUN_DIR: `${fits}x` })).toThrow(`${takeOverSocket} is too long for a unix socket`);
    expect(() => runDir({ XDG_RUNTIME_DIR: fits })).toThrow('too long');
    // Bytes count, not letters.
    expect(() => runDir({ XENOLITH_RUN_DIR: `/${'ü'.repeat(MAX_DIR / 2 + 1)}` })).toThrow('too long');
  });

  it('keeps a domain’s log inside the log folder whatever the domain is called', () => {
    const { consoleLog } = runPaths('/r');
    expect(consoleLog('web-1')).toBe('/r/log/console-web-1.log');
    expect(consoleLog('../../x')).toBe('/r/log/console-..%2F..%2Fx.log');
    expect(runPaths('/r').consoleSocket(3)).toBe('/r/console/3.sock');
  });
});

describe('making it', () => {
  let base = '';
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'xl-'));
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  it('makes it for this user alone, with its folders and version, as often as one likes', () => {
    const dir = join(base, 'deep', 'host');
    makeRunDir(dir);
    makeRunDir(dir);
    expect(readdirSync(dir).sort()).toEqual(['console', 'log', 'version']);
    for (const path of [dir, join(dir, 'console'), join(dir, 'log')]) expect(statSync(path).mode & 0o777).toBe(0o700);
    checkRunDirVersion(dir);
  });

  it('refuses a directory that others may enter', () => {
    const dir = join(base, 'host');
    mkdirSync(dir);
    chmodSync(dir, 0o755);
    expect(() => makeRunDir(dir)).toThrow('open to others');
  });

  it('refuses a directory whose parent others may write to', () => {
    mkdirSync(join(base, 'open'));
    chmodSync(join(base, 'open'), 0o777);
    expect(() => makeRunDir(join(base, 'open', 'host'))).toThrow('others may write to');
    chmodSync(join(base, 'open'), 0o1777); // as /tmp is
    makeRunDir(join(base, 'open', 'host'));
  });

  it('refuses a symbolic link', () => {
    mkdirSync(join(base, 'elsewhere'), { mode: 0o700 });
    symlinkSync(join(base, 'elsewhere'), join(base, 'host'));
    expect(() => makeRunDir(join(base, 'host'))).toThrow('not a directory');
  });

  it('refuses another version and never misreads it', () => {
    const dir = join(base, 'host');
    makeRunDir(dir);
    writeFileSync(join(dir, 'version'), '999\n');
    expect(() => makeRunDir(dir)).toThrow('version "999"');
    expect(() => checkRunDirVersion(dir)).toThrow('version "999"');
  });

  it('says when there is no host', () => {
    expect(() => checkRunDirVersion(join(base, 'nobody'))).toThrow('not a run directory');
  });

  it('refuses a path too long for a unix socket', () => {
    expect(() => makeRunDir(join(base, 'x'.repeat(100)))).toThrow('too long');
  });
});

it('a file system without room for it is said, and what was begun of it is gone', () => {
  const dir = join(mkdtempSync(join(tmpdir(), 'xenolith-run-dir-')), 'host');
  try {
    const hypervisor = join(import.meta.dirname, '../../../dist/hypervisor.js');
    const args = ['--fsize=0', process.execPath, hypervisor, '--run-dir', dir];
    const { stderr } = spawnSync('prlimit', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    expect(stderr).toBe(`hypervisor: run directory ${dir}: EFBIG: file too large, write\n`);
    expect(existsSync(join(dir, 'version'))).toBe(false);
    makeRunDir(dir);
  } finally {
    rmSync(dirname(dir), { recursive: true });
  }
});
