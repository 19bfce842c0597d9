// cat, head, wc, env, sleep, yes: what is between the pipes.

import { XenError } from '#pvbus';
import type { Body } from '../process/body.ts';
import type { OpenFile } from '../process/open-file.ts';
import { attempt, readBytes, readPart, type Waiting, writeBytes, writeText } from '../process/transfer.ts';
import { Wait, YIELD } from '../process/wait.ts';
import { OpenDiskFile } from '../wasi/open-vnode.ts';
import { pathOf, typeAt, withVnode } from './file-paths.ts';
import { fromCwd } from './paths.ts';
import { type Call, each, type UtilityProgram } from './utility.ts';

const CHUNK = 65536;
const NEWLINE = 10;

/** Calls `use` with each file that is named, '-' being stdin, or with stdin. */
function* eachInput(call: Call, use: (file: OpenFile, name: string) => Waiting<void>): Waiting<number> {
  const { system, args, io } = call;
  return yield* each(call, args.length > 0 ? args : [''], function* (name) {
    if (args.length === 0 || name === '-') return yield* use(io[0], name);
    const file = yield* attempt(() => system.open(pathOf(call, name), '<', io));
    try {
      yield* use(file, name);
    } finally {
      file.release();
    }
  });
}
function* cat(call: Call): Waiting<number> {
  const chunk = new Uint8Array(CHUNK);
  const [, output] = call.io;
  return yield* eachInput(call, function* (file, name) {
    const isOutput = file instanceof OpenDiskFile && output instanceof OpenDiskFile && file.vnode === output.vnode;
    // It would never come to its end.
    if (isOutput && file.readable() > 0) throw new XenError('EINVAL', `${name || '-'}: it is the output as well`);
    for (let n = yield* readBytes(file, chunk); n > 0; n = yield* readBytes(file, chunk)) {
      yield* writeBytes(output, chunk.subarray(0, n));
      yield YIELD;
    }
  });
}
function amount(options: Call['options'], letter: string): number | undefined {
  const given = options.get(letter);
  if (given === undefined) return undefined;
  if (!/^\d{1,15}$/.test(given)) throw new XenError('EINVAL', `-${letter} ${given}: not a number`);
  return Number(given);
}
/** The first lines, or with -c the first bytes, of each. */
function* head(call: Call): Waiting<number> {
  const { args, io, options } = call;
  const bytes = amount(options, 'c');
  const lines = amount(options, 'n') ?? 10;
  let first = true;
  return yield* eachInput(call, function* (file, name) {
    if (args.length > 1)
      yield* writeText(io[1], `${first ? '' : '\n'}==> ${name === '-' ? 'standard input' : name} <==\n`);
    first = false;
    yield* bytes === undefined ? copyLines(file, io[1], lines) : copyBytes(file, io[1], bytes);
  });
}
function* copyLines(from: OpenFile, to: OpenFile, lines: number): Waiting<void> {
  for (let n = 0; n < lines; ) {
    const { text, whole } = yield* readPart(from);
    if (text === '' && !whole) return;
    yield* writeText(to, whole ? `${text}\n` : text);
    if (whole) n++;
    yield YIELD;
  }
}
function* copyBytes(from: OpenFile, to: OpenFile, bytes: number): Waiting<void> {
  const chunk = new Uint8Array(CHUNK);
  for (let left = bytes; left > 0; ) {
    const n = yield* readBytes(from, chunk.subarray(0, Math.min(left, CHUNK)));
    if (n === 0) return;
    yield* writeBytes(to, chunk.subarray(0, n));
    left -= n;
    yield YIELD;
  }
}
/** Lines, words, bytes; of several files also the sum. As wide as the largest, or 7 where that is not known before. */
function* wc(call: Call): Waiting<number> {
  const { args, options, io } = call;
  const wanted = ['l', 'w', 'c'].filter(letter => options.size === 0 || options.has(letter));
  const width = wanted.length === 1 && args.length <= 1 ? 1 : yield* widthFor(call);
  const line = (counts: Record<string, number>, name: string): string =>
    `${wanted.map(letter => String(counts[letter]).padStart(width)).join(' ')}${name && ` ${name}`}\n`;
  const chunk = new Uint8Array(CHUNK);
  const total: Record<string, number> = { l: 0, w: 0, c: 0 };
  const status = yield* eachInput(call, function* (file, name) {
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
    for (const letter of wanted) total[letter]! += counts[letter]!;
    yield* writeText(io[1], line(counts, name));
  });
  if (args.length > 1) yield* writeText(io[1], line(total, 'total'));
  return status;
}
function* widthFor(call: Call): Waiting<number> {
  const { args, io } = call;
  let least = 1;
  let sum = 0;
  for (const name of args.length > 0 ? args : ['-']) {
    const isThere = name !== '-' && (yield* typeAt(call, fromCwd(call.self.cwd, name))) !== undefined;
    const [stdin] = io;
    const size = isThere
      ? yield* attempt(() =>
          withVnode(call, pathOf(call, name), file => (file.type === 'file' ? file.attributes().size : undefined)),
        )
      : name === '-' && stdin instanceof OpenDiskFile
        ? yield* attempt(() => stdin.size())
        : 0;
    if (size === undefined || (name === '-' && !(stdin instanceof OpenDiskFile))) least = 7;
    else sum += size;
  }
  return Math.max(least, String(sum).length);
}
/** The environment, or a program with another one in its place. */
function* env(call: Call): Waiting<number | Body> {
  const { self, args, io, options, system } = call;
  const changed = new Map(options.has('i') || args[0] === '-' ? [] : self.env);
  const unwanted = options.get('u');
  if (unwanted !== undefined) changed.delete(unwanted);
  let at = args[0] === '-' ? 1 : 0;
  for (let match = assignment(args[at]); match; match = assignment(args[++at])) changed.set(match[1]!, match[2]!);
  const argv = args.slice(at);
  if (argv.length === 0) {
    yield* writeText(io[1], [...changed].map(([name, value]) => `${name}=${value}\n`).join(''));
    return 0;
  }
  self.become(argv, changed, self.cwd);
  return yield* system.exec.run(self);
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
  head: { options: 'n:c:', number: 'n', run: head },
  wc: { options: 'lwc', run: wc },
  env: { options: 'iu:', optionsFirst: true, misuse: 125, run: env },
  sleep: { options: '', run: sleep },
  yes: { options: '', run: yes },
};
