// The transcripts that our daemon keeps to, played against Debian's own two. What they do differently is written
// down in each transcript, and explained by name in docs/xenstore.md: a difference that is not listed is a failure,
// and so is a listed one that is none any more.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { start, whyNot } from '../support/real-xenstored.ts';
import { type Line, Player, parseTranscript, type Stage, type Which } from '../support/transcript.ts';
import { XenstoredProcess } from '../support/xenstored-process.ts';
import { explainedDifferences } from './explained.ts';
import { toldDifferences } from './random-differences.ts';
import { RealStage, SocketStage } from './real-stage.ts';

const folder = new URL('../transcripts/', import.meta.url);
const transcripts = readdirSync(folder)
  .filter(name => name.endsWith('.txt'))
  .map(name => ({ name, lines: parseTranscript(readFileSync(new URL(name, folder), 'utf8')) }));

/** Everything in which a daemon differs from what is written about it, in words. */
async function wrongLines(stage: Stage, lines: readonly Line[], which?: Which): Promise<string[]> {
  const wrong: string[] = [];
  const player = new Player(stage);
  for (const line of lines) {
    const difference = which && line.differences[which];
    if (difference?.expected[0] === 'not played') return wrong;
    const got = await player.play(line, difference?.expected ?? line.expected);
    if (got) {
      const shown = got.map(text => text.replaceAll('\0', '|')).join('  ');
      const about = difference ? ` (not as listed under ${difference.name})` : '';
      wrong.push(`line ${line.number}: ${line.text}\n  ~${which}  ${shown}${about}`);
    }
    if (difference?.end) return wrong;
  }
  for (const [who, got] of await player.leftOver()) wrong.push(`${who} was also sent ${JSON.stringify(got)}`);
  return wrong;
}

async function wrongLinesOf(which: Which, lines: readonly Line[]): Promise<string[]> {
  const daemon = await start(which);
  const stage = new RealStage(daemon);
  try {
    return await wrongLines(stage, lines, which);
  } finally {
    stage.close();
    await daemon.stop();
  }
}

describe('our daemon as a process', () => {
  // By itself it has no hypervisor, and so no domains. The other transcripts are played to it in transcripts.test.ts.
  const withoutDomains = transcripts.filter(({ lines }) => lines.every(({ who }) => who.startsWith('dom0')));
  for (const { name, lines } of withoutDomains) {
    test(`keeps to ${name}`, async () => {
      const daemon = new XenstoredProcess();
      await daemon.start({ journal: false });
      const stage = new SocketStage(daemon.socket);
      try {
        expect(await wrongLines(stage, lines)).toEqual([]);
      } finally {
        stage.close();
        await daemon.remove();
      }
    });
  }
});

for (const which of ['c', 'ocaml'] as const) {
  const reason = whyNot(which);
  describe(`Xen's daemon in ${which}${reason === undefined ? '' : `, skipped: ${reason}`}`, () => {
    for (const { name, lines } of transcripts) {
      test.skipIf(reason !== undefined)(`keeps to ${name}, but for what is listed`, async () => {
        expect(await wrongLinesOf(which, lines)).toEqual([]);
      });
    }
  });
}

test('docs/xenstore.md explains each difference, and no other', () => {
  const named = new Set<string>();
  for (const { lines } of transcripts) {
    for (const { differences } of lines) {
      for (const which of ['c', 'ocaml'] as const) {
        const name = differences[which]?.name;
        if (name !== undefined) named.add(`${which} ${name}`);
      }
    }
  }
  expect([...explainedDifferences()].sort()).toEqual([...named].sort());
  expect(toldDifferences.filter(name => !named.has(name))).toEqual([]);
});
