// Logs of domains that are no more stay, of the last of them: a program that is run has a name of its own each time.
import { readdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Log, messageOf, runPaths } from '#pvbus';

/** Of so many names. */
const KEPT = 64;
/** Looked at whenever so many domains have gone. */
const EVERY = 16;

/** A console's, a monitor's, and what of either became too long. */
const OF_DOMAIN = /^(?:console|xl)-(.+)\.log(?:\.\d+)?$/;

interface Kept {
  readonly files: string[];
  /** When the last of them was written to, ms. */
  last: number;
}

export class OldLogs {
  readonly #dir: string;
  readonly #inUse: () => Iterable<string>;
  readonly #log: Log;
  #gone = 0;

  /** `inUse`: the logs of consoles that are served. */
  constructor(runDir: string, inUse: () => Iterable<string>, log: Log) {
    this.#dir = dirname(runPaths(runDir).eventLog);
    this.#inUse = inUse;
    this.#log = log;
  }

  domainGone(): void {
    if (++this.#gone % EVERY !== 0) return;
    try {
      this.#look();
    } catch (error) {
      this.#log.warn(`logs of domains that are no more: ${messageOf(error)}`);
    }
  }

  #look(): void {
    const used = new Set([...this.#inUse()].map(path => nameIn(basename(path))));
    const names = new Map<string, Kept>();
    for (const file of readdirSync(this.#dir)) {
      const name = nameIn(file);
      if (name === undefined || used.has(name)) continue;
      const path = join(this.#dir, file);
      const known = names.get(name) ?? { files: [], last: 0 };
      names.set(name, known);
      known.files.push(path);
      known.last = Math.max(known.last, statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    }
    const old = [...names.values()].sort((a, b) => b.last - a.last).slice(KEPT);
    for (const { files } of old) for (const path of files) rmSync(path, { force: true });
  }
}

const nameIn = (file: string): string | undefined => OF_DOMAIN.exec(file)?.[1];
