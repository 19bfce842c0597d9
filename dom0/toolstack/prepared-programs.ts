// WASI programs made suspendable (pvbus/wasm/prepared.ts), kept by what they are made of, so that only the first start
// of a program waits for that. A file that is kept is checked whole whenever it is used: one that is damaged, or of
// another version, is made anew.
import { execFile } from 'node:child_process';
import { createHash, webcrypto } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastWordsOf, PREPARED_VERSION, preparedLayout, XenError } from '#pvbus';

/** As it was built, also when this runs from source. */
const BUILT = import.meta.url.endsWith('.ts') ? '../../dist/prepare-program.js' : './prepare-program.js';
const PROGRAM = fileURLToPath(new URL(BUILT, import.meta.url));
const MAKE_MS = 120_000;
/** Of its heap; what it reads and writes comes on top, and is bounded by what a ramdisk may have. */
const MAKE_HEAP_MIB = 2048;
const KEPT_FILES = 64;
const SUM_BYTES = 32;

/** Where they are kept, for this environment. */
export const preparedDir = (env: NodeJS.ProcessEnv): string =>
  join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'xenolith', 'prepared');

const isWasm = (bytes: Uint8Array): boolean =>
  bytes.length >= 8 && bytes[0] === 0 && bytes[1] === 0x61 && bytes[2] === 0x73 && bytes[3] === 0x6d;

export class PreparedPrograms {
  readonly #dir: string;
  /** One at a time: each takes a core and a gigabyte. */
  #making: Promise<unknown> = Promise.resolve();

  constructor(dir = preparedDir(process.env)) {
    this.#dir = dir;
  }

  /** The program as a guest runs it; what is none, or is prepared, comes back as it is. Throws ENOEXEC with the reason. */
  async prepared(bytes: Uint8Array): Promise<Uint8Array> {
    if (!isWasm(bytes) || preparedLayout(bytes) !== undefined) return bytes;
    const name = `${await sha256(bytes)}.${PREPARED_VERSION}`;
    const path = join(this.#dir, name);
    const kept = await readKept(path);
    if (kept !== undefined) return kept;
    const made = this.#making.then(async () => (await readKept(path)) ?? this.#make(bytes, path));
    this.#making = made.catch(() => {});
    return made;
  }

  async #make(bytes: Uint8Array, path: string): Promise<Uint8Array> {
    const work = await mkdtemp(join(tmpdir(), 'xenolith-prepare-'));
    try {
      const [from, to] = [join(work, 'in'), join(work, 'out')];
      await writeFile(from, bytes);
      await run(from, to);
      const made = new Uint8Array(await readFile(to));
      // It is only slower where it cannot be kept.
      await this.#keep(made, path).catch(() => {});
      return made;
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  async #keep(made: Uint8Array, path: string): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const draft = `${path}.${process.pid}`;
    await writeFile(draft, [createHash('sha256').update(made).digest(), made]);
    await rename(draft, path);
    await this.#forgetOldest();
  }
  async #forgetOldest(): Promise<void> {
    const names = await readdir(this.#dir);
    if (names.length <= KEPT_FILES) return;
    const files = await Promise.all(
      names.map(async name => ({ name, at: (await stat(join(this.#dir, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
    );
    files.sort((a, b) => b.at - a.at);
    for (const { name } of files.slice(KEPT_FILES)) await rm(join(this.#dir, name), { force: true });
  }
}

async function sha256(bytes: Uint8Array): Promise<string> {
  // Not createHash: this one works on another thread.
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)).toString('hex');
}

/** undefined when it is not there, or is not what was written. */
async function readKept(path: string): Promise<Uint8Array | undefined> {
  const file = await readFile(path).catch(() => undefined);
  if (file === undefined || file.length < SUM_BYTES) return undefined;
  const made = new Uint8Array(file.buffer, file.byteOffset + SUM_BYTES, file.length - SUM_BYTES);
  if (file.subarray(0, SUM_BYTES).toString('hex') !== (await sha256(made))) return undefined;
  const now = new Date();
  await utimes(path, now, now).catch(() => {}); // which one was used last is all that this is for
  return made;
}

function run(from: string, to: string): Promise<void> {
  const args = [`--max-old-space-size=${MAKE_HEAP_MIB}`, PROGRAM, String(process.pid), from, to];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { timeout: MAKE_MS, killSignal: 'SIGKILL' }, (error, _stdout, stderr) => {
      if (error === null) return resolve();
      const why = error.killed
        ? `it takes longer than ${MAKE_MS / 1000} s to prepare`
        : (lastWordsOf(stderr) ?? `preparing it failed: ${error.signal ?? error.code}`);
      reject(new XenError('ENOEXEC', why));
    });
  });
}
