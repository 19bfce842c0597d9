import { describe, expect, it } from 'vitest';
import { BoundedLines } from '../../../../hypervisor/confinement/bounded-lines.ts';

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
    expect(heard.at(-1)).toBe('(it has printed 65536 bytes; the rest is dropped)');
  });
  it('of which no line ever ends takes no memory', () => {
    const { lines } = rig();
    let taken = 0;
    while (lines.take(Buffer.alloc(4096, 'z'))) taken += 4096;
    expect(taken).toBeLessThan(65_536);
  });
});
