import { expect, it } from 'vitest';
import { ConsoleLines, ConsoleRing } from '../../../hypervisor/console-ring.ts';

const read = (ring: ConsoleRing, from: number, size = 100) => {
  const into = new Uint8Array(size);
  const { count, next } = ring.read(into, from);
  return { text: Buffer.from(into.subarray(0, count)).toString(), next };
};

it('a reader that comes back gets what is new, and never what was overwritten', () => {
  const ring = new ConsoleRing(8);
  ring.append('abc');
  expect(read(ring, 0)).toEqual({ text: 'abc', next: 3 });
  ring.append('defghij');
  expect(read(ring, 3)).toEqual({ text: 'defghij', next: 10 });
  expect(read(ring, 0)).toEqual({ text: 'cdefghij', next: 10 });
  expect(read(ring, 10)).toEqual({ text: '', next: 10 });
  expect(read(ring, 999)).toEqual({ text: '', next: 10 });
  expect(read(ring, 3, 2)).toEqual({ text: 'de', next: 5 });
});
it('what was cleared is not read again', () => {
  const ring = new ConsoleRing();
  ring.append('old');
  ring.clear();
  ring.append('new');
  expect(read(ring, 0).text).toBe('new');
});
it('lines are whole, printable, and bounded', () => {
  const lines: string[] = [];
  const console = new ConsoleLines(line => lines.push(line), 5);
  for (const byte of Buffer.from('a\x00\x1bb\tc\nde\r\n\n1234567\xff', 'latin1')) console.write(byte);
  console.finish();
  console.finish();
  expect(lines).toEqual(['ab\tc', 'de', '', '12345', '67']);
});
