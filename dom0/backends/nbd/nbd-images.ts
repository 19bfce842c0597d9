// Disks that are not a plain file, for blkback in dom0's main thread: what NBD servers have, and images that a qemu-nbd is
// started for. Their thread is started with the first of them.
import { join } from 'node:path';
import { type Log, type NbdTarget, parseNbdTarget, XenError } from '#pvbus';
import type { BackendThread } from '../backend-thread.ts';
import type { NbdExport } from './negotiation.ts';
import { checkReferences, type QemuFormat, QemuNbd } from './qemu-nbd.ts';
import type { NbdMessage } from './worker.ts';

type Thread = Pick<BackendThread, 'call' | 'onEvent'>;
/** A server that is not there by then is said to be missing. */
const OPEN_MS = 10_000;

export interface NbdImage {
  readonly found: NbdExport;
  /** Its server is asked anew how large it is; an image in a format of QEMU's is made as large as `size` says before. */
  grow(size: string): Promise<void>;
  close(): Promise<void>;
}

export interface NbdImagesOptions {
  readonly startThread: () => Thread;
  readonly runDir: string;
  readonly log: Log;
}

/** `qcow2:/path`, as blkback's `params` has it. Raw files are not among these. */
export function formatOf(params: string): { readonly format: QemuFormat; readonly path: string } | undefined {
  const match = /^(qcow2?|qed|vhd):(.*)$/s.exec(params);
  return match === null ? undefined : { format: match[1] as QemuFormat, path: match[2]! };
}

export class NbdImages {
  readonly #options: NbdImagesOptions;
  readonly #listeners: ((event: unknown) => void)[] = [];
  #thread: Thread | undefined;

  constructor(options: NbdImagesOptions) {
    this.#options = options;
  }

  /** undefined while there has been no such disk. */
  get started(): Thread | undefined {
    return this.#thread;
  }
  get thread(): Thread {
    if (this.#thread === undefined) {
      this.#thread = this.#options.startThread();
      for (const listener of this.#listeners) this.#thread.onEvent(listener);
    }
    return this.#thread;
  }
  onEvent(listener: (event: unknown) => void): void {
    this.#listeners.push(listener);
    this.#thread?.onEvent(listener);
  }

  async openTarget(key: string, label: string, target: string): Promise<NbdImage> {
    const found = await this.#open(key, label, parseNbdTarget(target));
    return { found, grow: () => this.#withoutServer(key, async () => {}), close: () => this.#close(key) };
  }

  async openFormat(
    key: string,
    label: string,
    { format, path }: { readonly format: QemuFormat; readonly path: string },
    readOnly: boolean,
    discard: boolean,
  ): Promise<NbdImage> {
    const { log, runDir } = this.#options;
    await checkReferences(path, format);
    const [frontend, devid] = key.split('/').slice(-2);
    const socket = join(runDir, `nbd-${frontend}-${devid}`);
    const target = parseNbdTarget(`nbd:unix:${socket}`);
    const server = new QemuNbd({ label, format, path, readOnly, discard, socket, log });
    try {
      const found = await Promise.race([this.#open(key, label, target), server.failed]);
      server.serves();
      return {
        found,
        grow: async size => {
          if (readOnly) throw new XenError('EROFS', 'it is read-only');
          const bytes = sizeOf(size);
          await this.#withoutServer(key, () => server.grow(bytes));
        },
        close: async () => {
          await this.#close(key);
          await server.stop();
        },
      };
    } catch (error) {
      await this.#close(key);
      await server.stop();
      throw error;
    }
  }

  /** What is asked of the disk meanwhile waits. */
  async #withoutServer(key: string, act: () => Promise<void>): Promise<void> {
    const thread = this.thread;
    await thread.call({ op: 'hold', key } satisfies NbdMessage);
    try {
      await act();
    } finally {
      await thread.call({ op: 'renew', key } satisfies NbdMessage);
    }
  }

  async #open(key: string, label: string, target: NbdTarget): Promise<NbdExport> {
    const message: NbdMessage = { op: 'open', key, label, target, openMs: OPEN_MS };
    return (await this.thread.call(message)) as NbdExport; // our own thread's
  }
  async #close(key: string): Promise<void> {
    await this.thread.call({ op: 'close', key } satisfies NbdMessage);
  }
}

/** Bytes, as `qemu-img resize` takes them. Throws EINVAL. */
function sizeOf(text: string): number {
  const match = /^([0-9]{1,15})([kMGT]?)$/.exec(text);
  const bytes = match === null ? Number.NaN : Number(match[1]) * 1024 ** ' kMGT'.indexOf(match[2] || ' ');
  if (!Number.isSafeInteger(bytes))
    throw new XenError('EINVAL', `${JSON.stringify(text)} is no size; expected one like 2G`);
  return bytes;
}

/** Throws where a frontend's sectors cannot be asked for. */
export function checkBlocks(label: string, { maxBlock, sizeBytes }: NbdExport, sectorSize: number): void {
  if (maxBlock < sectorSize) throw new XenError('EINVAL', `${label}: the server takes ${maxBlock} bytes at most`);
  if (sizeBytes < sectorSize) throw new XenError('EINVAL', `${label}: its disk has no whole sector`);
}
