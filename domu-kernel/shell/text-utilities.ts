// cat, head, wc, env, sleep, yes: what is between the pipes.
import { XenError } from '#pvbus';
import type { OpenFile } from '../process/open-file.ts';
import { attempt, readBytes, readLine, type Waiting, writeBytes, writeText } from '../process/transfer.ts';
import { Wait, YIELD } from '../process/wait.ts';
import { fromCwd } from './paths.ts';
import type { Call, UtilityProgram } from './utilities.ts';

const CHUNK = 65536;
const NEWLINE = 10;

/** Calls `use` with each file that is named, or with stdin. */
export function* eachInput(
  { system, self, args, io }: Call,
  use: (file: OpenFile, name: string) => Waiting<void>,
): Waiting<void> {
  if (args.length === 0) return yield* use(io[0], '');
  for (const name of args) {
    if (name === '-') yield* use(io[0], '');
    else {
      const file = yield* attempt(() => system.open(fromCwd(self.cwd, name), '<', io));
      try {
        yield* use(file, name);
      } finally {
        file.release();
      }
    }
  }
}
function* cat(call: Call): Waiting<number> {
  const chunk = new Uint8Array(CHUNK);
  yield* eachInput(call, function* (file) {
    for (let n = yield* readBytes(file, chunk); n > 0; n = yield* readBytes(file, chunk)) {
      yield* writeBytes(call.io[1], chunk.subarray(0, n));
      yield YIELD;
    }
  });
  return 0;
}
function* head(call: Call): Waiting<number> {
  const [first = '', ...rest] = call.words;
  const named = /^-n?(\d+)$/.exec(first)?.[1] ?? (first === '-n' ? rest.shift() : undefined);
  const lines = Number(named ?? 10);
  if (!Number.isInteger(lines)) throw new XenError('EINVAL', `${named}: not a number of lines`);
  const args = named === undefined ? call.words : rest;
  yield* eachInput({ ...call, args }, function* (file) {
    for (let n = 0; n < lines; n++) {
      const line = yield* readLine(file);
      if (line === undefined) return;
      yield* writeText(call.io[1], `${line}\n`);
      yield YIELD;
    }
  });
  return 0;
}
function* wc(call: Call): Waiting<number> {
  const { options, io } = call;
  const wanted = ['l', 'w', 'c'].filter(letter => options.size === 0 || options.has(letter));
  const chunk = new Uint8Array(CHUNK);
  yield* eachInput(call, function* (file, name) {
    const counts: Record<string, number> = { l: 0, w: 0, c: 0 };
    let inWord = false;
    for (let n = yield* readBytes(file, chunk); n > 0; n = yield* readBytes(file, chunk)) {
      counts.c! += n;
      for (const byte of chunk.subarray(0, n)) {
        if (byte === NEWLINE) counts.l!++;
        const blank = byte === 32 || (byte >= 9 && byte <= 13);
        if (!blank && !inWord) counts.w!++;
        inWord = !blank;
      }
      yield YIELD;
    }
    yield* writeText(io[1], `${wanted.map(letter => counts[letter]).join(' ')}${name && ` ${name}`}\n`);
  });
  return 0;
}
/** The environment, or a program with another one. */
function* env(call: Call): Waiting<number> {
  const { self, words, io, system } = call;
  const changed = new Map(self.env);
  let at = 0;
  for (let match = assignment(words[at]); match; match = assignment(words[++at])) changed.set(match[1]!, match[2]!);
  const argv = words.slice(at);
  if (argv.length === 0) {
    yield* writeText(io[1], [...changed].map(([name, value]) => `${name}=${value}\n`).join(''));
    return 0;
  }
  const child = system.spawn({ argv, env: changed, cwd: self.cwd, stdio: io, parent: self, pgid: self.pgid });
  return yield* system.waitFor(self, child);
}
const assignment = (word: string | undefined): RegExpExecArray | null => /^([A-Za-z_]\w*)=([\s\S]*)$/.exec(word ?? '');

function* sleep({ system, args }: Call): Waiting<number> {
  const units: Record<string, number> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };
  let seconds = 0;
  for (const word of args) {
    const [, number, unit = ''] = /^(\d{1,9}(?:\.\d{1,9})?)([smhd]?)$/.exec(word) ?? [];
    if (number === undefined) throw new XenError('EINVAL', `${word}: not a time`);
    seconds += Number(number) * units[unit]!;
  }
  if (args.length === 0) throw new XenError('EINVAL', 'how long?');
  const until = system.clock.now() + seconds * 1e9;
  while (system.clock.now() < until) yield new Wait([], until);
  return 0;
}
function* yes({ args, io }: Call): Waiting<number> {
  const text = new TextEncoder().encode(`${args.join(' ') || 'y'}\n`.repeat(512));
  for (;;) {
    yield* writeBytes(io[1], text);
    yield YIELD;
  }
}

export const TEXT_UTILITIES: Readonly<Record<string, UtilityProgram>> = {
  cat: { options: '', run: cat },
  head: { options: '', run: head },
  wc: { options: 'lwc', run: wc },
  env: { options: '', run: env },
  sleep: { options: '', run: sleep },
  yes: { options: '', run: yes },
};
