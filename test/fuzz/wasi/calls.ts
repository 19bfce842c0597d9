// One program makes a number of calls. Each is answered with an errno there is, or a wait, or ends the program; the files
// stay a tree, and all of it is let go of when the program has ended.

import type { Vnode } from '../../../domu-kernel/fs/file-system.ts';
import { Pipe } from '../../../domu-kernel/process/pipe.ts';
import { ProcessExit } from '../../../domu-kernel/process/process.ts';
import { Wait } from '../../../domu-kernel/process/wait.ts';
import { OFLAGS_CREAT } from '../../../domu-kernel/wasi/abi.ts';
import { wasiErrnoName } from '../../../domu-kernel/wasi/errno.ts';
import { OpenDatagrams, OpenSocket } from '../../../domu-kernel/wasi/open-socket.ts';
import { LoopbackSockets } from '../../support/loopback-sockets.ts';
import fc from '../../support/properties.ts';
import { WasiRig } from '../../support/wasi-rig.ts';

const SIZE = 2 * 65536;
/** Where the tables that the pointers hit often are. */
const PATHS = 256;
const IOVS = 1024;
const SUBSCRIPTIONS = 2048;
const ADDRESS = 3000;
const FREE = 4096;

const NAMES = [
  'a',
  'b',
  'dir',
  'dir/a',
  'dir/sub',
  'dir/sub/x',
  '.',
  '..',
  'dir/..',
  'a/',
  '/a',
  'link',
  'dir/up/a',
  '',
];

/** The letters say what an argument is: f, d, k descriptor, p and l a path and its length, r result, b buffer, n count, x i64. */
const SIGNATURES: Readonly<Record<string, string>> = {
  args_get: 'bb',
  args_sizes_get: 'rr',
  environ_get: 'bb',
  environ_sizes_get: 'rr',
  clock_res_get: 'sr',
  clock_time_get: 'sxr',
  fd_advise: 'fxxs',
  fd_allocate: 'fyy',
  fd_close: 'f',
  fd_datasync: 'f',
  fd_fdstat_get: 'fr',
  fd_fdstat_set_flags: 'fs',
  fd_fdstat_set_rights: 'fgg',
  fd_filestat_get: 'fr',
  fd_filestat_set_size: 'fy',
  fd_filestat_set_times: 'fxxs',
  fd_pread: 'fixr',
  fd_prestat_get: 'fr',
  fd_prestat_dir_name: 'fbn',
  fd_pwrite: 'fiyr',
  fd_read: 'fir',
  fd_readdir: 'dbnxr',
  fd_renumber: 'ff',
  fd_seek: 'fxsr',
  fd_sync: 'f',
  fd_tell: 'fr',
  fd_write: 'fir',
  path_create_directory: 'dp',
  path_filestat_get: 'dspr',
  path_filestat_set_times: 'dspxxs',
  path_link: 'dspdp',
  path_open: 'dspsggsr',
  path_readlink: 'dpbnr',
  path_remove_directory: 'dp',
  path_rename: 'dpdp',
  path_symlink: 'pdp',
  path_unlink_file: 'dp',
  poll_oneoff: 'ubnr',
  proc_exit: 's',
  proc_raise: 's',
  random_get: 'bn',
  sched_yield: '',
  sock_accept: 'ksr',
  sock_recv: 'kisrr',
  sock_send: 'kisr',
  sock_shutdown: 'ks',
};
const SOCK_SIGNATURES: Readonly<Record<string, string>> = {
  socket: 'sr',
  bind: 'ka',
  listen: 'ks',
  connect: 'ka',
  getsockname: 'ka',
  getpeername: 'ka',
  socket_dgram: 'sr',
  sendto: 'kisar',
  recvfrom: 'kisarr',
  setsockopt: 'kss',
  getsockopt: 'ksr',
  resolve: 'pbnr',
  join: 'kaas',
  leave: 'kaas',
  interfaces: 'bnr',
  interface_addresses: 'bnr',
};

const anywhere = fc.oneof(
  { arbitrary: fc.integer({ min: FREE, max: SIZE - 4096 }), weight: 20 },
  { arbitrary: fc.integer({ min: SIZE - 80, max: SIZE + 8 }), weight: 2 },
  { arbitrary: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), weight: 1 },
);
const count = fc.oneof(
  { arbitrary: fc.nat(300), weight: 20 },
  { arbitrary: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), weight: 1 },
);
const small = fc.oneof(
  { arbitrary: fc.constantFrom(0, 0, 1), weight: 20 },
  { arbitrary: fc.nat(5), weight: 10 },
  { arbitrary: fc.nat(40), weight: 4 },
  { arbitrary: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), weight: 1 },
);
const long = fc.oneof(fc.bigInt({ min: 0n, max: 5000n }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }));
/** Lengths of files: huge ones are refused by every file system, those between would only take memory. */
const length = fc.oneof(fc.bigInt({ min: 0n, max: 70_000n }), fc.bigInt({ min: -(2n ** 63n), max: -1n }));
const rights = fc.oneof(fc.constant(2n ** 30n - 1n), fc.constant(0xffffffbfn & 0x3fffffffn), long);
const fd = fc.oneof(
  { arbitrary: fc.nat(9), weight: 20 },
  { arbitrary: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), weight: 1 },
);
const directory = fc.oneof({ arbitrary: fc.constantFrom(3, 4, 5), weight: 20 }, { arbitrary: fd, weight: 2 });
const socket = fc.oneof({ arbitrary: fc.constantFrom(7, 8, 9, 10, 11), weight: 10 }, { arbitrary: fd, weight: 2 });
const path = fc.oneof(
  { arbitrary: fc.nat(NAMES.length - 1).map(i => [PATHS + 16 * i, NAMES[i]!.length]), weight: 20 },
  { arbitrary: fc.tuple(anywhere, count), weight: 1 },
);
const KINDS: Readonly<Record<string, fc.Arbitrary<number | bigint | (number | bigint)[]>>> = {
  f: fd,
  d: directory,
  k: socket,
  p: path,
  r: anywhere,
  b: anywhere,
  n: count,
  s: small,
  x: long,
  y: length,
  g: rights,
  i: fc.oneof(
    { arbitrary: fc.tuple(fc.constantFrom(IOVS, IOVS + 8, IOVS + 64), fc.nat(6)), weight: 10 },
    { arbitrary: fc.tuple(anywhere, count), weight: 1 },
  ),
  u: fc.oneof(fc.constant(SUBSCRIPTIONS), anywhere),
  a: fc.oneof(fc.constant(ADDRESS), anywhere),
};

interface Made {
  readonly module: string;
  readonly name: string;
  readonly args: readonly (number | bigint)[];
}
const callsOf = (module: string, signatures: Readonly<Record<string, string>>): fc.Arbitrary<Made>[] =>
  Object.entries(signatures).map(([name, signature]) =>
    fc
      .tuple(...[...signature].map(letter => KINDS[letter]!))
      .map(args => ({ module, name, args: args.flat() as (number | bigint)[] })),
  );
const call = fc.oneof(
  ...callsOf('wasi_snapshot_preview1', SIGNATURES),
  ...callsOf('wasi_snapshot_preview1', SIGNATURES).filter((_, i) => Object.keys(SIGNATURES)[i]!.startsWith('path_')),
  ...callsOf('xenolith_sock', SOCK_SIGNATURES),
);

/** Files, directories, links, pipes; and tables in memory for the calls to find. */
function prepared(): { rig: WasiRig; pipe: Pipe; sockets: LoopbackSockets } {
  const sockets = new LoopbackSockets();
  const rig = new WasiRig({ pages: 2, limit: 2 ** 20, sockets });
  const pipe = new Pipe();
  rig.give(pipe.reader);
  rig.give(pipe.writer);
  rig.mkdir('dir');
  rig.mkdir('dir/sub');
  rig.symlink('../a', 'dir/up');
  rig.symlink('dir', 'link');
  rig.file('a', 'some bytes');
  rig.open('dir', { rights: 2 ** 30 - 1 - 64 });
  rig.open('dir/sub', { rights: 2 ** 30 - 1 - 64 });
  rig.file('dir/x', undefined, { oflags: OFLAGS_CREAT, fdflags: 17 });
  // 7 listens on port 80; 8 and 9 are connected; 10 is new; 11 is of datagrams, at port 80.
  const [listener, client, fresh] = [sockets.stream(4), sockets.stream(4), sockets.stream(4)];
  const at80 = { address: new Uint8Array(4), port: 80 };
  listener.bind(at80);
  listener.listen(3);
  client.connect(at80);
  client.connect(at80);
  for (const socket of [listener, client, listener.accept()!, fresh]) rig.give(new OpenSocket(socket, 4));
  const datagrams = sockets.datagram(4);
  datagrams.bind(at80);
  rig.give(new OpenDatagrams(datagrams, 4));
  rig.process.bytes.fill(0);
  for (const [i, name] of NAMES.entries()) rig.process.bytes.set(Buffer.from(name), PATHS + 16 * i);
  for (let i = 0; i < 16; i++) {
    rig.view.setUint32(IOVS + 8 * i, i === 9 ? SIZE - 1 : FREE + 512 * i, true);
    rig.view.setUint32(IOVS + 8 * i + 4, (i * 97) % 500, true);
  }
  for (let i = 0; i < 12; i++) {
    rig.view.setUint8(SUBSCRIPTIONS + 48 * i + 8, i % 4);
    rig.view.setUint32(SUBSCRIPTIONS + 48 * i + 16, i, true);
  }
  rig.view.setUint16(ADDRESS, 4, true);
  rig.view.setUint16(ADDRESS + 2, 80, true);
  return { rig, pipe, sockets };
}

/** Every directory can be walked, every file read, nothing is there twice but by links. */
function checkTree(directory: Vnode, depth = 0): void {
  if (depth > 50) throw new Error('a directory is inside itself');
  for (const { name, ino, type } of directory.entries()) {
    const vnode = directory.lookup(name);
    if (!vnode) throw new Error(`${name} is listed and not there`);
    const attributes = vnode.attributes();
    if (attributes.ino !== ino || attributes.type !== type || vnode.type !== type)
      throw new Error(`${name} is another`);
    if (type === 'directory') checkTree(vnode, depth + 1);
    if (type === 'file') vnode.read(0, new Uint8Array(16));
    vnode.release();
  }
}

function make({ rig, pipe }: { rig: WasiRig; pipe: Pipe }, { module, name, args }: Made): 'ended' | undefined {
  let outcome: ReturnType<WasiRig['raw']>;
  try {
    outcome = rig.raw(name, args, module);
    // What waits is made again once, as if a signal had come.
    if (outcome instanceof Wait && rig.process.call !== undefined) outcome = rig.raw(name, args, module);
  } catch (error) {
    if (error instanceof ProcessExit) return name === 'proc_exit' ? undefined : 'ended';
    throw error;
  }
  rig.process.call = undefined;
  if (outcome instanceof Wait) {
    if (pipe.length === 0) pipe.put(new Uint8Array(100));
    else pipe.take(new Uint8Array(65536));
    return undefined;
  }
  if (!Number.isInteger(outcome) || outcome < 0 || outcome > 76) throw new Error(`${name} says ${outcome}`);
  wasiErrnoName(outcome);
  return undefined;
}

export const anyCalls = fc.property(fc.array(call, { minLength: 1, maxLength: 60 }), calls => {
  const made = prepared();
  const { rig } = made;
  for (const one of calls) if (make(made, one) === 'ended') break;
  checkTree(rig.fs.root);
  rig.fds.closeAll();
  if (made.sockets.open !== 0) throw new Error(`${made.sockets.open} sockets are open behind the end`);
  if (rig.fs.inUse) throw new Error('something is in use behind the end');
});
