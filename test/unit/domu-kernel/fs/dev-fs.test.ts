import { beforeEach, describe, expect, it } from 'vitest';
import { DevFs } from '../../../../domu-kernel/fs/dev-fs.ts';
import type { OpenFile } from '../../../../domu-kernel/process/open-file.ts';
import { Pipe } from '../../../../domu-kernel/process/pipe.ts';
import { UserlandRig } from '../../../support/userland-rig.ts';
import { WasiRig } from '../../../support/wasi-rig.ts';

const NAMES = ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'console', 'stdin', 'stdout', 'stderr'];
const CREAT = 1;
const EXCL = 4;
const TRUNC = 8;
const READ = 2;

describe('/dev for a WASI program', () => {
  let rig: WasiRig;
  let dev: DevFs;
  /** In place of the terminal. */
  let pipe: Pipe;
  beforeEach(() => {
    rig = new WasiRig();
    pipe = new Pipe();
    const terminal: OpenFile = pipe.writer;
    let next = 0;
    const random = (into: Uint8Array): void => {
      if (into.length > 65536) throw new Error('more than a source gives at once');
      for (let i = 0; i < into.length; i++) into[i] = ++next % 251;
    };
    dev = new DevFs({ random, terminal, wallNs: () => 123n });
    rig.mounts.provide('dev', dev);
  });
  const opened = (name: string): number => rig.file(`dev/${name}`, undefined, { oflags: 0 });

  it.each([
    ['null', '', 5],
    ['zero', '\0\0\0\0', 5],
    ['full', '\0\0\0\0', 'ENOSPC'],
    ['random', '\x01\x02\x03\x04', 5],
    ['urandom', '\x01\x02\x03\x04', 5],
  ])('%s reads as %j, and takes or refuses what is written', (name, read, written) => {
    const fd = opened(name);
    expect(rig.read(fd, 4)).toBe(read);
    expect(rig.write(fd, 'bytes')).toBe(written);
    expect(rig.call('fd_seek', fd, 1000n, 0, rig.alloc(8))).toBe('SUCCESS');
  });

  it('is a character device to stat, with a number of its own, and no terminal to isatty', () => {
    const at = rig.alloc(64);
    const numbers = ['null', 'zero'].map(name => {
      rig.ok('path_filestat_get', 3, 1, ...rig.bytes(`dev/${name}`), at);
      expect([rig.view.getUint8(at + 16), rig.u64(at + 32), rig.u64(at + 40)]).toEqual([2, 0n, 123n]);
      const byPath = [rig.u64(at), rig.u64(at + 8)];
      rig.ok('fd_filestat_get', opened(name), at);
      expect([rig.u64(at), rig.u64(at + 8)]).toEqual(byPath);
      return byPath[1];
    });
    expect(new Set(numbers).size).toBe(2);
    const fd = opened('null');
    const seek = rig.alloc(8);
    rig.ok('fd_seek', fd, 1000n, 0, seek);
    expect(rig.u64(seek)).toBe(0n);
    rig.ok('fd_fdstat_get', fd, at);
    // Seek and tell.
    expect([rig.view.getUint8(at), rig.u64(at + 8) & 0x24n]).toEqual([2, 0x24n]);
  });

  it('lists what is there, which stays as it is', () => {
    const directory = rig.open('dev', { rights: READ });
    expect(dev.root.entries().map(({ name }) => name)).toEqual(NAMES);
    expect(new Set(dev.root.entries().map(({ ino }) => ino)).size).toBe(NAMES.length);
    const path = (name: string) => rig.bytes(`dev/${name}`);
    const table: [string, unknown][] = [
      ['ENOENT', rig.open('dev/none')],
      ['EPERM', rig.open('dev/none', { oflags: CREAT })],
      ['EEXIST', rig.open('dev/null', { oflags: CREAT | EXCL })],
      ['ENOTDIR', rig.open('dev/null/x')],
      ['ENOTDIR', rig.open('dev/null', { oflags: 2 })],
      ['EPERM', rig.mkdir('dev/d')],
      ['EEXIST', rig.mkdir('dev')],
      ['EPERM', rig.call('path_unlink_file', 3, ...path('null'))],
      ['EBUSY', rig.call('path_remove_directory', 3, ...rig.bytes('dev'))],
      ['EPERM', rig.call('path_rename', 3, ...path('null'), 3, ...path('zero'))],
      ['EXDEV', rig.call('path_rename', 3, ...path('null'), 3, ...rig.bytes('null'))],
      ['EPERM', rig.call('path_link', 3, 0, ...path('null'), 3, ...path('other'))],
      ['EPERM', rig.symlink('null', 'dev/other')],
      ['EINVAL', rig.call('path_readlink', 3, ...path('null'), rig.alloc(8), 8, rig.alloc(4))],
      ['EISDIR', rig.read(Number(directory))],
      ['EINVAL', rig.call('fd_filestat_set_size', opened('zero'), 1n)],
      ['ENOTCAPABLE', rig.call('fd_sync', opened('null'))],
      ['ESPIPE', rig.call('fd_pread', opened('zero'), ...rig.iovs([0, 4]), 0n, rig.alloc(4))],
    ];
    expect(table.map(([, outcome]) => outcome)).toEqual(table.map(([wanted]) => wanted));
    expect(typeof rig.open('dev/null', { oflags: CREAT | TRUNC })).toBe('number');
  });

  it('gives a large read in part, from a source that gives little at once', () => {
    const node = rig.mounts.find('/dev/random');
    const into = new Uint8Array(3 << 20);
    expect(node.read(0, into)).toBe(1 << 20);
    expect(into[(1 << 20) - 1]).not.toBe(0);
    expect(into[1 << 20]).toBe(0);
    node.release();
    expect(dev.inUse).toBe(false);
  });

  it('opens what is open already by stdin, stdout, stderr, tty and console', () => {
    expect(rig.open('dev/stdin', { rights: READ })).toBe('EBADF');
    rig.fds.set(0, rig.fds.get(rig.file('input', 'from a file')));
    const fd = opened('stdin');
    expect(rig.read(0, 5)).toBe('from ');
    expect(rig.read(fd)).toBe('a file');
    rig.ok('fd_close', 0);
    expect(rig.read(fd)).toBe('');
    rig.write(opened('tty'), 'seen');
    const seen = new Uint8Array(9);
    expect([pipe.reader.read(seen), Buffer.from(seen).toString('utf8', 0, 4)]).toEqual([4, 'seen']);
    // Nothing but what is open holds them.
    rig.fds.closeAll();
    expect(dev.inUse).toBe(false);
  });
});

describe('/dev for a shell', () => {
  let rig: UserlandRig;
  beforeEach(() => {
    rig = new UserlandRig();
  });
  const out = (script: string): string => rig.sh(script).out;

  it('is there without a directory of the root, and cannot be taken away', () => {
    expect(out('ls /dev | wc -l; ls -d /dev; cd /dev; pwd; test -c null && ! test -f null && echo device')).toBe(
      '10\n/dev\n/dev\ndevice\n',
    );
    expect(out('umount /dev; rm -r /dev/null; rmdir /dev; mv /dev /d; mount')).toMatch(
      /^umount: .*always there\nrm: .*\nrmdir: .*mounted there\nmv: .*mounted there\n.* on \/ \(rw\)\ndevfs on \/dev \(rw\)\n$/,
    );
    expect(out('df')).not.toContain('/dev');
    expect(out('mkdir /dev/x || mkdir -p /dev && echo same')).toContain('same');
  });

  it('has devices for redirections, arguments, cp and cat', () => {
    expect(out('echo gone > /dev/null; cat /dev/null; cat < /dev/null; echo $?')).toBe('0\n');
    expect(out('echo lost > /dev/full')).toMatch(/write to \/dev\/full\n$/);
    expect(rig.sh('cat /dev/zero > /dev/full').status).toBe(1);
    expect(out('echo x > /f; cp /dev/null /f; test -s /f || echo empty')).toBe('empty\n');
    // What never ends lets others run.
    expect(out('for c in cat wc; do $c /dev/zero > /dev/null & kill $!; wait $!; echo $?; done')).toBe('143\n143\n');
    expect(out('echo seen > /dev/tty | cat; echo file > /f; cp /f /dev/stdout')).toBe('seen\nfile\n');
  });

  it('has the descriptors of the command that names them', () => {
    expect(out('echo a | cat /dev/stdin; echo b > /dev/stdout | wc -l')).toBe('a\n1\n');
    expect(out('{ echo c > /dev/stderr; } 2> /e; echo [$(cat /e)]')).toBe('[c]\n');
  });
});
