// What dom0's processes print before they serve. They write to the host's log themselves, and end the host when they end: then
// somebody waits for it who does not see that log.
import { fstatSync } from 'node:fs';
import { basename } from 'node:path';
import { LastWords, logTail } from '#pvbus';
import type { Program } from './process-messages.ts';

/** As streamLog writes it. */
const LOGGED = /^\d{4}-\S+Z ([a-z0-9-]+)(?: [a-z0-9-]+)?: (.*)$/;
const TROUBLE = /^(?:warning|error): (.*)$/;

export class LoggedWords {
  readonly #fd: number;
  readonly #path: string;
  /** By process: where the log ended when it was started, and its name there. */
  readonly #started = new Map<number, { from: number; who: string }>();

  /** `fd` is open for writing alone. */
  constructor(fd: number, path: string) {
    this.#fd = fd;
    this.#path = path;
  }
  starts(id: number, program: Program): void {
    this.#started.set(id, { from: fstatSync(this.#fd).size, who: basename(program, '.js') });
  }
  serves(id: number): void {
    this.#started.delete(id);
  }
  /** Of one that has ended, with its name; undefined of one that has served, or said nothing. */
  of(id: number): string | undefined {
    const started = this.#started.get(id);
    if (started === undefined) return undefined;
    this.#started.delete(id);
    const { from, who } = started;
    const words = new LastWords();
    for (const line of logTail(this.#path, from).split('\n')) {
      const [, by, text] = LOGGED.exec(line) ?? [];
      if (by === undefined) words.hear(line);
      else if (by === who) words.hear(TROUBLE.exec(text!)?.[1] ?? '');
    }
    return words.text === undefined ? undefined : `${who}: ${words.text}`;
  }
}
