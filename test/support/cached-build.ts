// What takes long to build is kept below the temporary directory, by a name that says all it was made of. Whoever
// comes second waits for the first; a file is there whole or not at all. A program that nobody has used for a week goes.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive } from './processes.ts';

const CACHE = join(tmpdir(), `xenolith-programs-${process.getuid?.()}`);
const POLL_MS = 100;
const DAY_MS = 24 * 60 * 60 * 1000;
const KEPT_MS = 7 * DAY_MS;

export function hashOf(parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 32);
}

/** `make` writes a file or a directory to the path it is given. Returns where the result is kept. */
export async function cachedBuild(name: string, make: (out: string) => Promise<void>): Promise<string> {
  mkdirSync(CACHE, { recursive: true, mode: 0o700 });
  const path = join(CACHE, name);
  while (!existsSync(path)) {
    if (!take(`${path}.lock`)) {
      await sleep(POLL_MS);
      continue;
    }
    const unfinished = join(CACHE, `${process.pid}-${name}`);
    try {
      if (existsSync(path)) break;
      await make(unfinished);
      if (!existsSync(path)) renameSync(unfinished, path);
      sweep();
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
      rmSync(`${path}.lock`, { force: true });
    }
  }
  // Seldom: who has read it takes it for another one then.
  if (unusedMs(path) > DAY_MS) utimesSync(path, new Date(), new Date());
  return path;
}

const unusedMs = (path: string): number => {
  const now = Date.now();
  return now - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now);
};

/** Programs of sources that nobody has any more; and what was left by a process that has ended in the midst of it. */
function sweep(): void {
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name);
    const maker = /^(\d+)-/.exec(name)?.[1];
    const isOver =
      maker === undefined ? /\.(wasm|lock)$/.test(name) && unusedMs(path) > KEPT_MS : !isAlive(Number(maker));
    if (isOver) rmSync(path, { recursive: true, force: true });
  }
}

/** The lock of a process that has ended is taken away. */
function take(lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const holder = readHolder(lock);
  if (holder > 0 && !isAlive(holder)) rmSync(lock, { force: true });
  return false;
}

function readHolder(lock: string): number {
  try {
    return Number(readFileSync(lock, 'utf8'));
  } catch {
    return 0; // given back meanwhile
  }
}
