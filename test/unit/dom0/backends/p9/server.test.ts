import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { P9, P9_NOFID, P9_O, P9_SETATTR, P9_UNLINK_DIRECTORY, P9_VERSION, P9Reader, P9Writer, softLimit } from '#pvbus';
import { MAX_FIDS, P9Server } from '../../../../../dom0/backends/p9/server.ts';

const ROOM = 64 << 10;
const { errno } = constants;
let outside: string;
let folder: string;
let server: P9Server;

beforeEach(() => {
  outside = mkdtempSync(join(tmpdir(), 'xenolith-p9-'));
  folder = join(outside, 'shared');
  mkdirSync(folder);
  writeFileSync(join(outside, 'secret'), 'not for the guest');
  server = new P9Server(folder, ROOM);
});
afterEach(() => {
  server.close();
  rmSync(outside, { recursive: true });
});

/** The answer to a message: its reader, or Linux' number of what went wrong. */
function ask(type: number, write: (out: P9Writer) => unknown = () => {}): P9Reader | number {
  const out = new P9Writer(ROOM).begin(type, 9);
  write(out);
  const answer = new P9Reader().begin(server.answer(out.end()).slice());
  expect(answer.tag).toBe(9);
  if (answer.type === P9.Rlerror) return answer.u32();
  expect(answer.type).toBe(type + 1);
  return answer;
}
function well(answer: P9Reader | number): P9Reader {
  if (typeof answer === 'number') throw new Error(`errno ${answer}`);
  return answer;
}
const version = (msize = ROOM, text: string = P9_VERSION): P9Reader =>
  well(ask(P9.Tversion, out => out.u32(msize).string(text)));
const attach = (fid: number): P9Reader | number =>
  ask(P9.Tattach, out => out.u32(fid).u32(P9_NOFID).string('guest').string('').u32(0));
const walk = (from: number, to: number, ...names: string[]): P9Reader | number =>
  ask(P9.Twalk, out => {
    out.u32(from).u32(to).u16(names.length);
    for (const name of names) out.string(name);
  });
const open = (fid: number, flags = 0): P9Reader | number => ask(P9.Tlopen, out => out.u32(fid).u32(flags));
const create = (fid: number, name: string, flags = P9_O.rdwr): P9Reader | number =>
  ask(P9.Tlcreate, out => out.u32(fid).string(name).u32(flags).u32(0o644).u32(0));
const write = (fid: number, at: number, text: string): number =>
  well(ask(P9.Twrite, out => out.u32(fid).u64(BigInt(at)).u32(Buffer.byteLength(text)).data(Buffer.from(text)))).u32();
function read(fid: number, at: number, count: number): string | number {
  const answer = ask(P9.Tread, out => out.u32(fid).u64(BigInt(at)).u32(count));
  if (typeof answer === 'number') return answer;
  return Buffer.from(answer.data(answer.u32())).toString();
}
function list(fid: number, room = 8192): string[] {
  const names: string[] = [];
  for (let from = 0n; ; ) {
    const answer = well(ask(P9.Treaddir, out => out.u32(fid).u64(from).u32(room)));
    answer.u32();
    if (answer.left === 0) return names;
    while (answer.left > 0) {
      answer.qid();
      from = answer.u64();
      answer.u8();
      names.push(answer.string());
    }
  }
}

describe('a shared folder', () => {
  beforeEach(() => {
    version();
    well(attach(0));
  });

  it('makes, writes, reads and lists files, which are the host’s', () => {
    well(walk(0, 1));
    well(create(1, 'note'));
    expect(write(1, 0, 'hello')).toBe(5);
    expect(write(1, 8, 'there')).toBe(5);
    expect(read(1, 0, 100)).toBe('hello\0\0\0there');
    expect(readFileSync(join(folder, 'note'), 'utf8')).toBe('hello\0\0\0there');
    well(ask(P9.Tfsync, out => out.u32(1).u32(1)));
    well(ask(P9.Tmkdir, out => out.u32(0).string('sub').u32(0o755).u32(0)));
    well(walk(0, 2));
    well(open(2));
    expect(list(2).sort()).toEqual(['note', 'sub']);
    well(ask(P9.Trenameat, out => out.u32(0).string('note').u32(0).string('renamed')));
    expect(readdirSync(folder).sort()).toEqual(['renamed', 'sub']);
    well(ask(P9.Tunlinkat, out => out.u32(0).string('renamed').u32(0)));
    well(ask(P9.Tunlinkat, out => out.u32(0).string('sub').u32(P9_UNLINK_DIRECTORY)));
    expect(readdirSync(folder)).toEqual([]);
    // Who has it open keeps it.
    expect(read(1, 0, 5)).toBe('hello');
  });

  it('lists a directory of any size in pieces, each name once', () => {
    const names = Array.from({ length: 3000 }, (_, i) => `file-${i}`);
    for (const name of names) writeFileSync(join(folder, name), '');
    well(walk(0, 1));
    expect(list(1, 500).sort()).toEqual([...names].sort());
  });

  it('says and changes what a file is', () => {
    writeFileSync(join(folder, 'f'), 'abc');
    well(walk(0, 1, 'f'));
    const attributes = (): { mode: number; size: bigint; mtime: bigint } => {
      const answer = well(ask(P9.Tgetattr, out => out.u32(1).u64(0x7ffn)));
      answer.u64();
      answer.qid();
      const mode = answer.u32();
      answer.data(8 + 8 + 8);
      const size = answer.u64();
      answer.data(8 + 8 + 16);
      return { mode, size, mtime: answer.u64() };
    };
    expect(attributes()).toMatchObject({ mode: statSync(join(folder, 'f')).mode, size: 3n });
    const set = (valid: number, mode: number, size: bigint, mtime: bigint): P9Reader | number =>
      ask(P9.Tsetattr, out =>
        out.u32(1).u32(valid).u32(mode).u32(0).u32(0).u64(size).u64(0n).u64(0n).u64(mtime).u64(0n),
      );
    const { mode, size, mtime, mtimeSet, uid } = P9_SETATTR;
    well(set(mode | size | mtime | mtimeSet, 0o4600, 1n, 1234n));
    expect(attributes()).toMatchObject({ mode: 0o100600, size: 1n, mtime: 1234n });
    expect(set(uid, 0, 0n, 0n)).toBe(errno.EPERM);
    expect(set(size, 0, 1n << 60n, 0n)).toBe(errno.EFBIG);
  });

  it('makes no symlink whose target nobody could read again', () => {
    expect(ask(P9.Tsymlink, out => out.u32(0).string('l').string('a\0b').u32(0))).toBe(errno.EINVAL);
    expect(readdirSync(folder)).toEqual([]);
  });
  it('gives symlinks to be read, and follows none', () => {
    well(ask(P9.Tsymlink, out => out.u32(0).string('out').string('../secret').u32(0)));
    well(walk(0, 1, 'out'));
    expect(well(ask(P9.Treadlink, out => out.u32(1))).string()).toBe('../secret');
    expect(open(1)).toBe(errno.EACCES);
    // A symlink to a directory is no way into it.
    symlinkSync('..', join(folder, 'up'));
    const answer = well(walk(0, 2, 'up', 'secret'));
    expect(answer.u16()).toBe(1); // it came as far as the symlink, and there is no fid
    expect(open(2)).toBe(errno.EBADF);
    expect(create(1, 'x')).not.toBeInstanceOf(P9Reader);
  });

  it('leads nowhere else by names', () => {
    for (const name of ['..', '.', '', '../secret', '/etc/passwd', 'a/b', 'a\0b']) {
      expect(walk(0, 1, name), name).toBe(errno.EINVAL);
      expect(create(0, name), name).toBe(errno.EINVAL);
      expect(
        ask(P9.Tunlinkat, out => out.u32(0).string(name).u32(0)),
        name,
      ).toBe(errno.EINVAL);
      expect(
        ask(P9.Trenameat, out => out.u32(0).string(name).u32(0).string('x')),
        name,
      ).toBe(errno.EINVAL);
    }
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('not for the guest');
  });

  it('stays in a directory that is moved while it walks', () => {
    mkdirSync(join(folder, 'd/e'), { recursive: true });
    well(walk(0, 1, 'd', 'e'));
    renameSync(join(folder, 'd'), join(outside, 'moved'));
    well(create(1, 'there'));
    expect(readdirSync(join(outside, 'moved/e'))).toEqual(['there']);
    expect(walk(1, 2, '..')).toBe(errno.EINVAL);
  });

  it('opens no pipe and no device', () => {
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    well(walk(0, 1, 'pipe'));
    expect(open(1)).toBe(errno.EACCES);
  });

  it('makes no file in the place of another', () => {
    expect(create(0, 'x', P9_O.rdwr)).toBeInstanceOf(P9Reader);
    well(attach(3));
    expect(create(3, 'x')).toBe(errno.EEXIST);
  });

  const fewFiles =
    softLimit(process.pid, 'nofile') < 2n * BigInt(MAX_FIDS) ? ': it holds more than a process may here' : '';
  it.skipIf(fewFiles)(`bounds what a client holds${fewFiles}`, () => {
    for (let fid = 1; fid < MAX_FIDS; fid++) well(walk(0, fid));
    expect(walk(0, MAX_FIDS)).toBe(errno.EMFILE);
    expect(walk(0, 5)).toBe(errno.EINVAL);
    expect(walk(77_777, 5)).toBe(errno.EBADF);
    const before = readdirSync('/proc/self/fd').length;
    server.close();
    expect(readdirSync('/proc/self/fd').length).toBe(before - MAX_FIDS);
  });

  it('agrees on a message size, and begins anew with a version', () => {
    expect(version(1 << 30).u32()).toBe(ROOM);
    expect(walk(0, 1)).toBe(errno.EBADF);
    expect(version(8192).u32()).toBe(8192);
    well(attach(0));
    expect(version(100).u32()).toBe(100);
    expect(() => attach(0)).toThrow('before the version');
    const answer = version(ROOM, '9P2000.u');
    answer.u32();
    expect(answer.string()).toBe('unknown');
  });

  it('answers what it does not serve, and gives up on what is no message', () => {
    expect(ask(P9.Txattrwalk, out => out.u32(0).u32(1).string('user.x'))).toBe(errno.EOPNOTSUPP);
    expect(ask(200)).toBe(errno.EOPNOTSUPP);
    expect(() => ask(P9.Tgetattr)).toThrow('shorter than it says');
  });
});
