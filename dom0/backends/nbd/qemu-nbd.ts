// An image in a format of QEMU's, served by a qemu-nbd(8) of our own on a socket in the run directory. It ends with dom0,
// and is started again when it ends by itself. Formats are never guessed: what the config names is what QEMU is told.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, realpathSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Log, messageOf, XenError } from '#pvbus';

export type QemuFormat = 'qcow' | 'qcow2' | 'qed' | 'vhd';
/** QEMU's name of Virtual PC's format. */
const DRIVERS: Readonly<Record<QemuFormat, string>> = { qcow: 'qcow', qcow2: 'qcow2', qed: 'qed', vhd: 'vpc' };
const FOLDERS = ['/usr/bin', '/usr/local/bin', '/bin'];
const PACKAGE = "which Debian's package qemu-utils has";
/** untrusted: an image may keep whoever reads its header busy, or have it say much. */
const INFO_MS = 10_000;
const MAX_INFO = 1 << 20;
/** It writes: what is killed in the middle may be no image any more. */
const RESIZE_MS = 600_000;
const MAX_CHAIN = 32;
/** Of what it says last when it ends. */
const MAX_SAID = 4096;
/** After SIGTERM it writes what it has not written. */
const END_MS = 10_000;
const FIRST_WAIT_MS = 20;
const LONGEST_WAIT_MS = 2000;
/** One that lived so long did not fail to start. */
const LIVED_MS = 5000;
/** The one of the dom0 before this one may be still writing. */
const LOCKED_MS = 10_000;
const LOCKED = /Failed to get .* lock/;

/** Throws ENOENT with what is to be installed. */
export function findProgram(name: 'qemu-nbd' | 'qemu-img' | 'setpriv', format: string): string {
  const found = FOLDERS.map(folder => join(folder, name)).find(path => existsSync(path));
  if (found !== undefined) return found;
  const where = name === 'setpriv' ? "which Debian's package util-linux has" : PACKAGE;
  throw new XenError('ENOENT', `format ${format} needs ${name}, ${where}`);
}

interface ImageInfo {
  readonly 'backing-filename'?: string;
  readonly 'full-backing-filename'?: string;
  readonly 'backing-filename-format'?: string;
  readonly 'format-specific'?: { readonly data?: { readonly 'data-file'?: string } };
}

/**
 * What an image refers to is opened with the rights of the host's user: only files beside it or below are, of a format
 * that it names. untrusted: the image may be anybody's.
 */
export async function checkReferences(path: string, format: QemuFormat): Promise<void> {
  const program = ending('qemu-img', format);
  const home = dirname(realpathSync(path));
  let at = path;
  let driver = DRIVERS[format];
  for (let depth = 0; depth < MAX_CHAIN; depth++) {
    const info = await imageInfo(program, at, driver);
    const dataFile = info['format-specific']?.data?.['data-file'];
    if (dataFile !== undefined) throw new XenError('EPERM', `${at} keeps its data in another file, ${dataFile}`);
    const named = info['backing-filename'];
    if (named === undefined) return;
    const backing = info['full-backing-filename'] ?? named;
    const next = info['backing-filename-format'];
    if (next === undefined)
      throw new XenError('EPERM', `${at} does not name the format of its backing file (qemu-img rebase -u -F …)`);
    if (next !== 'raw' && !Object.values(DRIVERS).includes(next))
      throw new XenError('EPERM', `${at}: its backing file has format ${next}`);
    const real = realPath(backing);
    if (!backing.startsWith('/') || real === undefined)
      throw new XenError('ENOENT', `${at}: its backing file ${backing} is no file that is there`);
    if (!real.startsWith(home === '/' ? home : `${home}/`))
      throw new XenError('EPERM', `${at}: its backing file ${real} is not below ${home}`);
    if (next === 'raw') return;
    at = real;
    driver = next;
  }
  throw new XenError('ELOOP', `${path} has more than ${MAX_CHAIN} backing files`);
}
function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
async function imageInfo(program: Command, path: string, driver: string): Promise<ImageInfo> {
  return JSON.parse(await run(program, ['info', '--output=json', '--force-share', '-f', driver, path])) as ImageInfo;
}
type Command = readonly [file: string, args: readonly string[]];
/** It ends with this process. Throws ENOENT. */
function ending(program: 'qemu-nbd' | 'qemu-img', format: string): Command {
  const path = findProgram(program, format);
  return [findProgram('setpriv', format), ['--pdeathsig', 'TERM', '--', path]];
}
/** What it says on stdout; it is killed when `signal` says so. Throws EINVAL with what it says of an error. */
function run([file, before]: Command, words: readonly string[], timeout = INFO_MS, signal?: AbortSignal) {
  return new Promise<string>((resolve, reject) => {
    const options = { timeout, maxBuffer: MAX_INFO, killSignal: 'SIGKILL', env: {}, signal } as const;
    execFile(file, [...before, ...words], options, (error, stdout, stderr) => {
      if (error !== null) {
        const said =
          stderr
            .trim()
            .split('\n')[0]
            ?.replace(/^qemu-img: /, '') || error.message;
        reject(new XenError('EINVAL', said));
      } else resolve(stdout);
    });
  });
}

export interface QemuNbdOptions {
  readonly label: string;
  readonly format: QemuFormat;
  readonly path: string;
  readonly readOnly: boolean;
  /** What the guest gives back, or fills with zeros, is given back to the file system. */
  readonly discard: boolean;
  readonly socket: string;
  readonly log: Log;
}

export class QemuNbd {
  readonly #options: QemuNbdOptions;
  readonly #command: Command;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #waitMs = FIRST_WAIT_MS;
  #startedAt = 0;
  #stopping = false;
  /** Settles when its image is as large as it was told to be. */
  #growing: Promise<void> | undefined;
  readonly #tooLate = new AbortController();
  #served = false;
  #giveUp: (error: XenError) => void = () => {};
  readonly #madeAt = Date.now();
  /** Rejects when it ended before `serves` was called. */
  readonly failed = new Promise<never>((_, reject) => {
    this.#giveUp = reject;
  });

  /** Throws ENOENT when there is no such program. */
  constructor(options: QemuNbdOptions) {
    this.#options = options;
    const { format, path, readOnly, discard, socket } = options;
    const args = [
      ...['--socket', socket, '--persistent', '--shared', '4', '--format', DRIVERS[format]],
      ...['--discard', discard ? 'unmap' : 'ignore', '--detect-zeroes', discard ? 'unmap' : 'off'],
      ...(readOnly ? ['--read-only'] : []),
      ...['--', path],
    ];
    // SIGTERM: it writes what it has in memory before it ends.
    const [file, before] = ending('qemu-nbd', format);
    this.#command = [file, [...before, ...args]];
    this.failed.catch(() => {});
    this.#start();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }
  /** From now on it is started again whenever it ends. */
  serves(): void {
    this.#served = true;
  }

  #start(): void {
    const [file, args] = this.#command;
    this.#startedAt = Date.now();
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], env: {}, cwd: '/' });
    this.#child = child;
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-MAX_SAID);
    });
    this.#ended = new Promise(resolve => {
      child.once('error', error => {
        this.#over(messageOf(error));
        resolve();
      });
      child.once('exit', (code, signal) => {
        child.stderr.destroy();
        const last = said
          .trim()
          .split('\n')
          .at(-1)
          ?.replace(/^qemu-nbd: /, '');
        this.#over(last || `it ended with ${signal ?? `exit code ${code}`}`);
        resolve();
      });
    });
  }
  #over(why: string): void {
    this.#child = undefined;
    if (this.#stopping || this.#growing !== undefined) return;
    const { label, log } = this.#options;
    const now = Date.now();
    if (!this.#served && !(LOCKED.test(why) && now - this.#madeAt < LOCKED_MS)) {
      this.#stopping = true;
      this.#giveUp(new XenError('EIO', `${label}: qemu-nbd: ${why}`));
      return;
    }
    if (this.#served) log.warn(`${label}: qemu-nbd has ended, another one is started: ${why}`);
    if (now - this.#startedAt > LIVED_MS) this.#waitMs = FIRST_WAIT_MS;
    this.#timer = setTimeout(() => this.#start(), this.#waitMs);
    this.#waitMs = Math.min(this.#waitMs * 2, LONGEST_WAIT_MS);
  }

  /** It has written everything, or was killed, when this resolves. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const timer = setTimeout(() => this.#tooLate.abort(), END_MS);
    await this.#growing?.catch(() => {}); // who asked for it hears
    clearTimeout(timer);
    await this.#end();
    rmSync(this.#options.socket, { force: true });
  }
  async #end(): Promise<void> {
    clearTimeout(this.#timer);
    const child = this.#child;
    if (child === undefined) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** While none serves it, since an image that is served is locked, it is made larger; whether or not that goes, one serves it again. */
  async grow(bytes: number): Promise<void> {
    // order: while there is no such program the one that serves it goes on.
    const program = ending('qemu-img', this.#options.format);
    this.#growing = this.#grow(program, bytes);
    try {
      await this.#growing;
    } finally {
      this.#growing = undefined;
      if (!this.#stopping) this.#start();
    }
  }
  async #grow(program: Command, bytes: number): Promise<void> {
    const { format, path } = this.#options;
    // It has all that was written when its process has ended.
    await this.#end();
    const words = ['resize', '-q', '-f', DRIVERS[format], '--', path, String(bytes)];
    await run(program, words, RESIZE_MS, this.#tooLate.signal);
  }
}
