// Kernels as texts: the one in a domain's memory, and the one that was installed beside the shell.
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { Deserializer, Serializer } from 'node:v8';
import { Script } from 'node:vm';
import {
  type ControlMessage,
  domainLayout,
  koffi,
  mapPrivate,
  mapPrivateOver,
  PAGE_SIZE,
  viewOf,
  XENOLITH_IMAGE_MAGIC,
  xenolith_image,
} from '#pvbus';
import type { Mail } from './smp/mail.ts';

/** What vCPU 0's thread has in common with the others. */
export interface Threads {
  /** By the numbers of their vCPUs. */
  readonly mails?: ReadonlyMap<number, Mail> | undefined;
  readonly collectGarbage?: (() => void) | undefined;
}
export interface Handed extends Threads {
  readonly controlFd: number;
  readonly boot: ControlMessage;
  /** The driver of ext4, where one was built: a domain cannot read it any more. */
  readonly ext4?: Uint8Array | undefined;
}
export interface HandedSibling extends Omit<Handed, 'mails'> {
  /** To vCPU 0's thread. */
  readonly mail?: Mail | undefined;
  /** rsi of the context that vCPU 0 gave it. */
  readonly argument: number;
}
/** What the text of a kernel exports. */
export interface GuestKernel {
  /** Become vCPU 0 of the domain whose first control message is `boot`. */
  start(handed: Handed): void;
  /** Become another vCPU of a domain whose vCPU 0 runs this kernel and has brought that one up. */
  startSibling?(handed: HandedSibling): void;
  /** A start in two: the first asks nothing of anybody and may come before the domain runs, the second is returned. */
  attach?(handed: Handed): () => void;
  /** Have ready what can be had before there is a domain. Leaves nothing behind that a start could notice. */
  rehearse?(): Promise<void>;
}

const offered: Record<string, unknown> = { koffi, 'node:v8': { Serializer, Deserializer } };
function kernelRequire(name: string): unknown {
  if (name in offered) return offered[name];
  throw new Error(`a guest kernel cannot load ${name}`);
}

/** `code`: what an engine has made of this very text, which is taken in place of compiling it. It may refuse that. */
export const compileKernel = (text: Buffer, code?: Buffer): Script =>
  new Script(`(function (require, module, exports) {${text}\n})`, { filename: 'domu-kernel', cachedData: code });

/** Throws what the text throws. */
export function runKernel(script: Script): GuestKernel {
  const run = script.runInThisContext();
  const module = { exports: {} as Partial<GuestKernel> };
  run(kernelRequire, module, module.exports);
  if (module.exports.start === undefined) throw new Error('the kernel exports no start function');
  return module.exports as GuestKernel; // checked: it has start
}
export const evaluateKernel = (text: Buffer, code?: Buffer): GuestKernel => runKernel(compileKernel(text, code));

/** Where the build keeps what the engine has made of a kernel (`keep-code.ts`); one for each engine. */
export const keptCodePath = (kernel: string): string => kernel.replace(/\.js$/, `.${process.versions.v8}.cache`);

/** Of an image that is compared, so much at a time. */
const PIECE = 1 << 16;

/** The text of a kernel at guest address `entry` of the domain whose memory `boot` has brought. Throws where there is none. */
export class KernelImage {
  readonly length: number;
  readonly #fd: number;
  readonly #at: number;

  constructor({ fd, b }: ControlMessage, entry: number) {
    const header = new DataView(new ArrayBuffer(xenolith_image.size));
    const end = domainLayout(b % 2 ** 32, Math.floor(b / 2 ** 32)).frames * PAGE_SIZE;
    this.#fd = fd;
    this.#at = entry + xenolith_image.size;
    readSync(fd, header, 0, xenolith_image.size, entry);
    this.length = header.getUint32(xenolith_image.at.length, true);
    if (header.getUint32(xenolith_image.at.magic, true) !== XENOLITH_IMAGE_MAGIC || this.#at + this.length > end)
      throw new Error(`no kernel image at the entry address 0x${entry.toString(16)}`);
  }
  /** A copy. */
  text(): Buffer {
    const text = Buffer.alloc(this.length);
    readSync(this.#fd, text, 0, this.length, this.#at);
    return text;
  }
  equals(text: Uint8Array): boolean {
    if (text.length !== this.length) return false;
    const piece = Buffer.alloc(PIECE);
    for (let at = 0; at < text.length; at += PIECE) {
      const there = piece.subarray(0, Math.min(PIECE, text.length - at));
      readSync(this.#fd, there, 0, there.length, this.#at + at);
      if (!there.equals(text.subarray(at, at + there.length))) return false;
    }
    return true;
  }
}

/** What `xl build-ext4` leaves beside the shell. */
export const installedExt4 = (path: string): Uint8Array | undefined => ifThere(() => readFileSync(path));

/** undefined: the file is not there, or was not when the host started, which said what may be read. */
function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** The kernel that most domains will bring. */
export class InstalledKernel {
  readonly #path: string;
  readonly #failed: (why: string) => void;
  /** Not the collector's: a domain that does nothing never has it come, and a text is 1.3 MiB. */
  #text: PrivateText | undefined;
  #kernel: GuestKernel | undefined;

  /** `failed` hears why a kernel of which there is nothing to be had is as if there were none. */
  constructor(path: string, failed: (why: string) => void) {
    this.#path = path;
    this.#failed = failed;
  }
  /** Read and evaluate it. */
  load(): void {
    try {
      this.#text = new PrivateText(this.#path);
      const code = ifThere(() => new PrivateText(keptCodePath(this.#path)));
      this.#kernel = evaluateKernel(this.#text.bytes, code?.bytes);
      code?.release();
    } catch (error) {
      this.#giveUp(error);
    }
  }
  async rehearse(): Promise<void> {
    try {
      await this.#kernel?.rehearse?.();
    } catch (error) {
      this.#giveUp(error);
    }
  }
  /** It, if `image` is its text. */
  ifSame(image: KernelImage): GuestKernel | undefined {
    return this.#text && image.equals(this.#text.bytes) ? this.#kernel : undefined;
  }
  /** Nothing is compared with it any more. */
  forgetText(): void {
    this.#text?.release();
    this.#text = undefined;
  }
  #giveUp(error: unknown): void {
    this.#kernel = undefined;
    this.forgetText();
    this.#failed(`${this.#path}: ${error instanceof Error ? error.stack : error}`);
  }
}

/** What a file holds, in memory that is given back when that is said. */
class PrivateText {
  readonly bytes: Buffer;
  readonly #address: number;

  constructor(path: string) {
    const fd = openSync(path, 'r');
    try {
      const { size } = fstatSync(fd);
      this.#address = mapPrivate(size);
      this.bytes = Buffer.from(viewOf(this.#address, size));
      const read = readSync(fd, this.bytes);
      if (read !== size) throw new Error(`${read} of its ${size} bytes could be read`);
    } finally {
      closeSync(fd);
    }
  }
  release(): void {
    mapPrivateOver(this.#address, this.bytes.length);
  }
}
