import { describe, expect, it } from 'vitest';
import { BoundedLines } from '../../../../hypervisor/confinement/bounded-lines.ts';
import { namedLine } from '../../../../hypervisor/confinement/named-line.ts';

function rig(): { lines: BoundedLines; heard: string[] } {
  const heard: string[] = [];
  return { lines: new BoundedLines(text => heard.push(text)), heard };
}

describe('what a process prints', () => {
  it('is heard line by line, however it comes in pieces', () => {
    const { lines, heard } = rig();
    for (const piece of ['on', 'e\ntwo\nth', 'ree']) expect(lines.take(Buffer.from(piece))).toBe(true);
    expect(heard).toEqual(['one', 'two']);
    lines.end();
    expect(heard).toEqual(['one', 'two', 'three']);
  });
  it('cannot paint the terminal of who reads the log, nor begin lines of its own', () => {
    const { lines, heard } = rig();
    lines.take(Buffer.from('\x1b[2Jgone\r2026 xen: forged\n'));
    expect(heard).toEqual(['?[2Jgone?2026 xen: forged']);
  });
  it('is bounded: a line, and all of it', () => {
    const { lines, heard } = rig();
    lines.take(Buffer.from(`${'x'.repeat(5000)}\n`));
    expect(heard[0]).toHaveLength(1000);
    let more = true;
    for (let i = 0; i < 1000 && more; i++) more = lines.take(Buffer.from('y'.repeat(999).concat('\n')));
    expect(more).toBe(false);
    expect(heard.join('').length).toBeLessThan(70_000);
    expect(heard.at(-1)).toBe('(it prints too much; the rest is dropped)');
  });
  it('of which no line ever ends takes no memory', () => {
    const { lines } = rig();
    let taken = 0;
    while (lines.take(Buffer.alloc(4096, 'z'))) taken += 4096;
    expect(taken).toBeLessThan(65_536);
  });
  it('that is many lines of nothing is no more than it would be in the log', () => {
    const { lines, heard } = rig();
    expect(lines.take(Buffer.alloc(65_536, '\n'))).toBe(false);
    expect(heard).toHaveLength(65_536 / 64 + 1);
  });
  it('is text, also where a piece ends in the middle of a character', () => {
    const { lines, heard } = rig();
    for (const byte of Buffer.from('gär\u202eträg\u2028x\n')) lines.take(Buffer.of(byte));
    expect(heard).toEqual(['gär?träg?x']);
  });
  it('of one that lives on is bounded by time, and what is lost is counted', () => {
    const heard: string[] = [];
    let now = 0;
    const clock = { now: () => now, wallMs: () => 0 };
    const lines = new BoundedLines(text => heard.push(text), { clock, mostBytes: 80, bytesPerSecond: 30 });
    expect(lines.take(Buffer.from('first\n'))).toBe(true);
    expect(lines.take(Buffer.from('second, which is too long\n'))).toBe(false);
    expect(lines.take(Buffer.from('third\n'))).toBe(false);
    now = 3e9;
    expect(lines.take(Buffer.from('fourth\n'))).toBe(true);
    expect(heard).toEqual(['first', 'second, whi', '(it prints too much: 21 bytes are dropped)', 'fourth']);
  });
});

it.each([
  ['what it says of itself stays', '2026-01-01T00:00:00.000Z dom3: warning: x', 'dom3', 'warning: x'],
  [
    'and which thread of its says so',
    '2026-01-01T00:00:00.000Z dom3 blkback: warning: x',
    'dom3 blkback',
    'warning: x',
  ],
  ['the name of another is text', '2026-01-01T00:00:00.000Z xen: warning: x', 'dom3', undefined],
  ['of another domain as well', '2026-01-01T00:00:00.000Z dom31: warning: x', 'dom3', undefined],
  ['what begins like its own', '2026-01-01T00:00:00.000Z dom3 x y: warning: x', 'dom3', undefined],
  ['and what is no line of a log', 'Error: it has ended', 'dom3', undefined],
])('a line in the log is of who has printed it: %s', (_what, line, who, text = line) => {
  expect(namedLine('dom3', line)).toEqual({ who, text });
});
