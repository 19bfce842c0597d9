// From a root file system to its first process, and from the end of that to the domain's.
import { messageOf, PAGE_SIZE, XenError } from '#pvbus';
import { HostSocket } from './drivers/pvcallsfront/host-socket.ts';
import { unpackArchive } from './fs/archive.ts';
import type { FileSystem, Vnode } from './fs/file-system.ts';
import { MountTable } from './fs/mount-table.ts';
import { P9FileSystem } from './fs/p9-file-system.ts';
import { Tmpfs } from './fs/tmpfs.ts';
import type { Kernel } from './kernel.ts';
import { FrameCharge } from './memory-frames.ts';
import { processLookup } from './net/dns/process-lookup.ts';
import { exitNumber } from './process/process.ts';
import { Init } from './shell/init.ts';
import { type Machine, Userland } from './userland.ts';
import { GuestSockets, HOST_ADDRESS } from './wasi/guest-sockets.ts';
import { OpenSocket } from './wasi/open-socket.ts';

/** What a root has that boots by processes. */
const FIRST_PROGRAMS = ['/etc/init.json', '/init', '/sbin/init', '/etc/rc'];

/** A root file system in memory, of the archive that the domain was built with. */
export function archiveRoot(kernel: Kernel, archive: Uint8Array): FileSystem {
  const root = memoryFileSystem(kernel, 'rootfs');
  // order: the archive's frames are free before its files are charged: nobody else takes any meanwhile, since nothing
  // here waits, and a domain needs memory for one of both only.
  kernel.releaseModule();
  unpackArchive(archive, root.root);
  return root;
}
function memoryFileSystem({ vcpu, clock }: Kernel, name: string): Tmpfs {
  const frames = new FrameCharge(vcpu.frames);
  return new Tmpfs({
    name,
    limit: vcpu.layout.maxPages * PAGE_SIZE,
    pages: { take: count => frames.take(count), give: count => frames.give(count) },
    wallNs: () => BigInt(Math.floor(clock.wallMs() * 1e3)) * 1000n,
  });
}

/** /dev is there on every root; on one in memory it is also listed. */
function listDev(root: Vnode): void {
  (root.lookup('dev') ?? root.create('dev', 'directory')).release();
}

/** The domain has no program, and a root that says what to run; or its command line does. */
export function hasInit({ root, args }: Kernel): boolean {
  if (typeof args.init === 'string') return true;
  if (root === undefined) return false;
  const mounts = new MountTable(root);
  return FIRST_PROGRAMS.some(path => exists(mounts, path));
}
function exists(mounts: MountTable, path: string): boolean {
  try {
    mounts.find(path).release();
    return true;
  } catch (error) {
    if (error instanceof XenError && ['ENOENT', 'ENOTDIR'].includes(error.code)) return false;
    throw error;
  }
}

/** The processes of a domain, without any yet. `root`: what root= says, else, or something empty in memory. */
export function makeUserland(kernel: Kernel, root?: FileSystem): Userland {
  const { clock, vcpu, log } = kernel;
  const fs = root ?? kernel.root ?? memoryFileSystem(kernel, 'rootfs');
  if (fs instanceof Tmpfs) listDev(fs.root);
  kernel.userland = new Userland({
    clock,
    frames: vcpu.frames,
    mounts: new MountTable(fs),
    log,
    console: kernel.console,
    machine: machineOf(kernel),
    placement: kernel.processors?.placement,
    random: into => void crypto.getRandomValues(into),
    sockets: new GuestSockets({
      net: () => kernel.devices.net,
      loopback: () => kernel.devices.network,
      host: () => kernel.devices.host(),
      lookup: name => processLookup(kernel.devices.net?.dns, name, kernel.devices.net?.families.at(-1)),
    }),
  });
  return kernel.userland;
}

/** Resolves when the first process has ended, and the toolstack can read how. */
export async function startUserland(kernel: Kernel, root?: FileSystem): Promise<void> {
  const userland = makeUserland(kernel, root);
  const { processes, terminal } = userland;
  terminal.attach();
  const { init: path } = kernel.args;
  const code = await new Promise<number>(resolve => {
    processes.init = userland.spawn({
      argv: ['init'],
      env: new Map([
        ['PATH', '/bin:/usr/bin'],
        ['HOME', '/'],
        ['TERM', 'xterm'],
      ]),
      stdio: [terminal, terminal, terminal],
      routine: self => new Init(userland, self).run(typeof path === 'string' ? path : undefined),
      onEnd: status => resolve(exitNumber(status)),
    });
  });
  try {
    await kernel.xs.write(`${kernel.home}/data/exit-code`, String(code));
  } catch (error) {
    kernel.log.warn(`data/exit-code: ${messageOf(error)}`);
  }
}

function sharedFolder(kernel: Kernel, tag: string, readOnly: boolean): P9FileSystem {
  const folder = kernel.devices.folders().find(other => other.tag === tag);
  if (folder) return new P9FileSystem(folder.client, tag, readOnly);
  throw new XenError('ENODEV', `${tag}: this domain shares no such folder`);
}
function machineOf(kernel: Kernel): Machine {
  return {
    get name() {
      return kernel.name;
    },
    memory: () => ({
      total: kernel.info.nr_pages * PAGE_SIZE,
      free: kernel.vcpu.frames.available * PAGE_SIZE,
    }),
    messages: () => kernel.console.messages.join(''),
    missing: () => kernel.devices.missing,
    fileSystem(type, device, readOnly) {
      if (type === 'tmpfs') return memoryFileSystem(kernel, 'tmpfs');
      if (type === '9p') return sharedFolder(kernel, device, readOnly);
      const name = device.replace(/^\/dev\//, '');
      const disk = kernel.devices.disks().find(other => other.name === name);
      if (disk) return kernel.mount(disk, readOnly);
      throw new XenError('ENODEV', `${device}: this domain has no such disk`);
    },
    network: () => kernel.devices.network,
    hostSocket() {
      const host = kernel.devices.host();
      if (host) return new OpenSocket(new HostSocket(host, HOST_ADDRESS), 4);
      throw new XenError('ENODEV', 'this domain has no pvcalls');
    },
    shutdown: how => kernel.shutdown(how),
  };
}
