// /dev: what is there to be opened that lies on no disk.
import { XenError } from '#pvbus';
import type { OpenFile } from '../process/open-file.ts';
import type { Attributes, DirectoryEntry, FileSystem, FileType, Times, Vnode } from './file-system.ts';

/** What is open at a number, of whoever opens; EBADF. */
export type DescriptorOf = (fd: number) => OpenFile;

export interface DevParts {
  /** Fills it from the kernel's random source; at most 65,536 bytes at a time. */
  random(into: Uint8Array): void;
  readonly terminal: OpenFile;
  readonly wallNs: () => bigint;
}

/** Neither ever makes anybody wait. */
interface Device {
  /** How many bytes there were; 0 is the end. */
  read(into: Uint8Array): number;
  write(from: Uint8Array): number;
}
type Behind = Device | ((own: DescriptorOf) => OpenFile);

/** A read of more than this brings this much, so that no process has the vCPU for long. */
const MOST = 1 << 20;
const RANDOM_MOST = 65536;

const zeros = (into: Uint8Array): number => {
  const length = Math.min(into.length, MOST);
  into.fill(0, 0, length);
  return length;
};
const taken = (from: Uint8Array): number => from.length;

function devices({ random, terminal }: DevParts): Readonly<Record<string, Behind>> {
  const source: Device = {
    read(into) {
      const length = Math.min(into.length, MOST);
      for (let at = 0; at < length; at += RANDOM_MOST) random(into.subarray(at, Math.min(at + RANDOM_MOST, length)));
      return length;
    },
    write: taken,
  };
  const full = (): number => {
    throw new XenError('ENOSPC', 'write to /dev/full');
  };
  return {
    null: { read: () => 0, write: taken },
    zero: { read: zeros, write: taken },
    full: { read: zeros, write: full },
    random: source,
    urandom: source,
    tty: () => terminal,
    console: () => terminal,
    stdin: own => own(0),
    stdout: own => own(1),
    stderr: own => own(2),
  };
}

export class DevFs implements FileSystem {
  readonly name = 'devfs';
  readonly readOnly = false;
  readonly root: DevDirectory;
  private uses = 0;

  constructor(parts: DevParts) {
    const nodes = Object.entries(devices(parts)).map(
      ([name, behind], i) => [name, new DeviceNode(this, i + 2, behind, parts.wallNs())] as const,
    );
    this.root = new DevDirectory(this, new Map(nodes), parts.wallNs());
  }
  get inUse(): boolean {
    return this.uses > 0;
  }
  sync(): void {}
  space(): { free: number; total: number } {
    return { free: 0, total: 0 };
  }
  close(): void {}
  used(more: number): void {
    this.uses += more;
  }
}

abstract class DevNode {
  readonly fs: DevFs;
  abstract readonly type: FileType;
  protected abstract readonly nlink: number;
  private readonly ino: number;
  private atimeNs: bigint;
  private mtimeNs: bigint;
  private readonly ctimeNs: bigint;

  constructor(fs: DevFs, ino: number, nowNs: bigint) {
    this.fs = fs;
    this.ino = ino;
    this.atimeNs = this.mtimeNs = this.ctimeNs = nowNs;
  }
  attributes(): Attributes {
    const { ino, type, nlink, atimeNs, mtimeNs, ctimeNs } = this;
    return { ino, type, size: 0, nlink, atimeNs, mtimeNs, ctimeNs };
  }
  setTimes({ atimeNs, mtimeNs }: Times): void {
    this.atimeNs = atimeNs ?? this.atimeNs;
    this.mtimeNs = mtimeNs ?? this.mtimeNs;
  }
  readlink(): string {
    throw new XenError('EINVAL', 'readlink: it is no symlink');
  }
  sync(): void {}
  hold(): this {
    this.fs.used(1);
    return this;
  }
  release(): void {
    this.fs.used(-1);
  }
}

/** What is in it stays as it is. */
class DevDirectory extends DevNode implements Vnode {
  readonly type = 'directory';
  protected readonly nlink = 2;
  private readonly nodes: ReadonlyMap<string, DeviceNode>;

  constructor(fs: DevFs, nodes: ReadonlyMap<string, DeviceNode>, nowNs: bigint) {
    super(fs, 1, nowNs);
    this.nodes = nodes;
  }
  lookup(name: string): DeviceNode | undefined {
    return this.nodes.get(name)?.hold();
  }
  entries(): readonly DirectoryEntry[] {
    return [...this.nodes].map(([name, node]) => ({ name, ino: node.attributes().ino, type: node.type }));
  }
  create(name: string): never {
    throw fixed(`create ${name}`);
  }
  symlink(name: string): never {
    throw fixed(`symlink ${name}`);
  }
  link(name: string): never {
    throw fixed(`link ${name}`);
  }
  unlink(name: string): never {
    throw fixed(`unlink ${name}`);
  }
  rmdir(name: string): never {
    throw fixed(`rmdir ${name}`);
  }
  rename(name: string): never {
    throw fixed(`rename ${name}`);
  }
  read(): never {
    throw new XenError('EISDIR', 'read: it is a directory');
  }
  write(): never {
    throw new XenError('EISDIR', 'write: it is a directory');
  }
  truncate(): never {
    throw new XenError('EISDIR', 'truncate: it is a directory');
  }
}

const fixed = (what: string): XenError => new XenError('EPERM', `${what}: /dev has what the kernel has put there`);
const noDirectory = (): never => {
  throw new XenError('ENOTDIR', 'a device is no directory');
};

export class DeviceNode extends DevNode implements Vnode {
  readonly type = 'character';
  protected readonly nlink = 1;
  private readonly behind: Behind;

  constructor(fs: DevFs, ino: number, behind: Behind, nowNs: bigint) {
    super(fs, ino, nowNs);
    this.behind = behind;
  }
  /** What is open already and is opened by this name: the terminal, a descriptor of one's own. */
  standsFor(own: DescriptorOf): OpenFile | undefined {
    return typeof this.behind === 'function' ? this.behind(own) : undefined;
  }
  read(_offset: number, into: Uint8Array): number {
    return this.device.read(into);
  }
  write(_offset: number, from: Uint8Array): number {
    return this.device.write(from);
  }
  /** As O_TRUNC does it. */
  truncate(): void {}
  private get device(): Device {
    if (typeof this.behind !== 'function') return this.behind;
    throw new XenError('EINVAL', 'it has to be opened');
  }
  readonly lookup = noDirectory;
  readonly create = noDirectory;
  readonly symlink = noDirectory;
  readonly link = noDirectory;
  readonly unlink = noDirectory;
  readonly rmdir = noDirectory;
  readonly rename = noDirectory;
  readonly entries = noDirectory;
}
