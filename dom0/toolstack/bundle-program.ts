// What a domain's memory holds of its kernel and its program: one CommonJS text each, sources bundled with esbuild; the
// module 'xenolith' is left to the guest kernel, which provides it. Or, in place of the program, a root file system.
import { readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, isAbsolute, resolve } from 'node:path';
import type { Message } from 'esbuild';
import { type ArchiveEntry, type InitConfig, XenError } from '#pvbus';
import { PreparedPrograms } from './prepared-programs.ts';
import { isRoot, ROOTS, rootArchive, rootEntries } from './root-archive.ts';

/**
 * Bounds of what is read into a domain's memory, checked before anything is allocated for it
 * (Xen: XSA-25, builders that trusted the sizes of kernel and ramdisk).
 */
export const MAX_KERNEL_BYTES = 32 << 20;
export const MAX_RAMDISK_BYTES = 256 << 20;

/** Which key of the config names the file; it appears in every error. */
export type ImageKey = 'kernel' | 'ramdisk';
const LIMIT = { kernel: MAX_KERNEL_BYTES, ramdisk: MAX_RAMDISK_BYTES } as const;
/** Taken as they are: one CommonJS text each. A kernel's .js is what the build made. */
const READY = { kernel: ['.js', '.cjs'], ramdisk: ['.cjs'] } as const;
const SOURCE = { kernel: ['.ts', '.mts', '.mjs'], ramdisk: ['.ts', '.mts', '.js', '.mjs'] } as const;

/** Throws ENOENT, EACCES, EISDIR, EINVAL or E2BIG naming the key and the file. Reads nothing. */
export async function checkImage(key: ImageKey, path: string): Promise<void> {
  const known: readonly string[] = [...READY[key], ...SOURCE[key], ...(key === 'ramdisk' ? ROOTS : [])];
  const info = await stat(path).catch(error => {
    throw fileError(key, path, error);
  });
  if (!info.isFile()) throw new XenError('EISDIR', `${key}: ${path} is not a file`);
  if (!known.some(suffix => path.endsWith(suffix))) {
    throw new XenError('EINVAL', `${key}: ${path} is none of ${known.join(', ')}`);
  }
  checkSize(key, path, info.size);
}

interface Loaded {
  /** Or a root's entries, of which the archive is made. */
  readonly image: Uint8Array | readonly ArchiveEntry[];
  /** The files it was made of, each with the state it had. */
  readonly inputs: ReadonlyMap<string, string>;
}

/** Takes as long to load as all the rest of dom0, which is not to wait for it. */
const esbuild = (): typeof import('esbuild') => createRequire(import.meta.url)('esbuild');

/** All images that are kept, together. */
const KEPT_BYTES = 128 << 20;
const sizeOf = ({ image }: Loaded): number =>
  image instanceof Uint8Array ? image.length : image.reduce((sum, { data }) => sum + data.length, 0);

/** How long esbuild's process is kept after the last bundle: longer than the next domain of a topology takes to ask. */
const ESBUILD_IDLE_MS = 500;

/** Texts made before are kept while none of their files has changed. */
export class ImageLoader {
  readonly #kept = new Map<string, Loaded>();
  readonly #limit: number;
  readonly #programs: PreparedPrograms;
  #bundling = 0;
  #bundled = false;
  #idle: NodeJS.Timeout | undefined;

  constructor(limit = 32, programs = new PreparedPrograms()) {
    this.#limit = limit;
    this.#programs = programs;
  }

  /**
   * Not empty, within the key's bound. `init` is what a root file system is to run first, in place of what it says itself.
   * Throws a XenError of one line naming key and file.
   */
  async load(key: ImageKey, path: string, init: InitConfig | null = null): Promise<Uint8Array> {
    const id = `${key}:${path}`;
    const kept = this.#kept.get(id);
    this.#kept.delete(id);
    const loaded = kept !== undefined && (await isCurrent(kept)) ? kept : await this.#make(key, path);
    this.#kept.set(id, loaded); // the last used is the last to go
    let bytes = 0;
    for (const one of this.#kept.values()) bytes += sizeOf(one);
    for (const [oldest, one] of this.#kept) {
      if (this.#kept.size <= this.#limit && bytes <= KEPT_BYTES) break;
      this.#kept.delete(oldest);
      bytes -= sizeOf(one);
    }
    if (loaded.image instanceof Uint8Array) {
      if (init !== null) throw new XenError('EINVAL', `${key}: ${path} is no root file system (${ROOTS.join(', ')})`);
      return loaded.image;
    }
    const archive = rootArchive(loaded.image, init);
    checkSize(key, path, archive.length);
    return archive;
  }

  /** There is time: load what the first bundle needs. */
  async prepare(): Promise<void> {
    esbuild();
  }
  /** End esbuild's process now. */
  async close(): Promise<void> {
    clearTimeout(this.#idle);
    this.#kept.clear();
    if (this.#bundled) await esbuild().stop();
  }

  async #make(key: ImageKey, path: string): Promise<Loaded> {
    await checkImage(key, path);
    const ready: readonly string[] = READY[key];
    if (key === 'ramdisk' && isRoot(path)) return this.#root(path);
    const loaded = ready.includes(extname(path)) ? await readWhole(key, path) : await this.#bundle(key, path);
    if (loaded.image.length === 0) throw new XenError('ENOEXEC', `${key}: ${path} is empty`);
    checkSize(key, path, loaded.image.length);
    return loaded;
  }

  async #root(path: string): Promise<Loaded> {
    const { image, inputs } = await readWhole('ramdisk', path);
    try {
      return { image: await rootEntries(path, image, MAX_RAMDISK_BYTES, this.#programs), inputs };
    } catch (error) {
      throw error instanceof XenError ? new XenError(error.code, `ramdisk: ${path}: ${error.message}`, error) : error;
    }
  }

  async #bundle(key: ImageKey, path: string): Promise<Loaded & { readonly image: Uint8Array }> {
    clearTimeout(this.#idle);
    this.#bundled = true;
    this.#bundling++;
    try {
      return await bundle(key, path);
    } finally {
      if (--this.#bundling === 0) {
        this.#idle = setTimeout(() => esbuild().stop(), ESBUILD_IDLE_MS);
        this.#idle.unref();
      }
    }
  }
}

async function readWhole(key: ImageKey, path: string): Promise<Loaded & { readonly image: Uint8Array }> {
  const before = await stateOf(path); // order: before the read, so that a change during it shows
  const image = await readFile(path).catch(error => {
    throw fileError(key, path, error);
  });
  return { image, inputs: new Map([[path, before]]) };
}

async function bundle(key: ImageKey, path: string): Promise<Loaded & { readonly image: Uint8Array }> {
  const cwd = dirname(path);
  const { build } = esbuild();
  const result = await build({
    absWorkingDir: cwd,
    entryPoints: [path],
    bundle: true,
    write: false,
    metafile: true,
    format: 'cjs',
    platform: 'neutral', // a guest has no node: modules; naming one is an error here, not at run time
    mainFields: ['module', 'main'],
    target: 'es2022',
    external: ['xenolith'],
    legalComments: 'none',
    logLevel: 'silent',
  }).catch(error => {
    const [first] = (error as { errors?: Message[] }).errors ?? [];
    const at = first?.location ? `${resolve(cwd, first.location.file)}:${first.location.line}: ` : '';
    throw new XenError('ENOEXEC', `${key}: ${path} cannot be bundled: ${at}${first?.text ?? String(error)}`, error);
  });
  const inputs = new Map<string, string>();
  for (const name of Object.keys(result.metafile.inputs)) {
    const file = isAbsolute(name) ? name : resolve(cwd, name);
    inputs.set(file, await stateOf(file));
  }
  return { image: result.outputFiles[0]?.contents ?? new Uint8Array(0), inputs };
}

async function isCurrent(loaded: Loaded): Promise<boolean> {
  const checks = [...loaded.inputs].map(async ([file, state]) => (await stateOf(file)) === state);
  return (await Promise.all(checks)).every(same => same);
}

/** Differs when the file was replaced or written. */
async function stateOf(file: string): Promise<string> {
  const info = await stat(file, { bigint: true }).catch(() => undefined);
  return info === undefined ? 'gone' : `${info.ino}:${info.size}:${info.mtimeNs}`;
}

function checkSize(key: ImageKey, path: string, bytes: number): void {
  if (bytes <= LIMIT[key]) return;
  const mib = (n: number): string => (n / 2 ** 20).toFixed(1);
  throw new XenError('E2BIG', `${key}: ${path} has ${mib(bytes)} MiB, at most ${mib(LIMIT[key])} MiB are taken`);
}

function fileError(key: ImageKey, path: string, error: unknown): XenError {
  const code = (error as NodeJS.ErrnoException).code ?? 'EIO';
  const why = code === 'ENOENT' ? 'does not exist' : code === 'EACCES' ? 'may not be read' : `fails with ${code}`;
  return new XenError(code, `${key}: ${path} ${why}`, error);
}
