import { describe, expect, it } from 'vitest';
import { escapeValue, unescapeValue } from '../../../../tools/store/escape.ts';
import fc from '../../../support/properties.ts';

const bytes = (...parts: (string | number)[]): Buffer =>
  Buffer.concat(parts.map(part => (typeof part === 'string' ? Buffer.from(part) : Buffer.of(part))));

describe('a value as text', () => {
  it('is printable ASCII that means the same bytes again, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), value => {
        const text = escapeValue(value);
        expect(text).toMatch(/^[ -~]*$/);
        expect(Buffer.from(unescapeValue(text))).toEqual(Buffer.from(value));
      }),
    );
  });

  it.each([
    [bytes('a\tb\nc\rd\\e'), 'a\\tb\\nc\\rd\\\\e'],
    [bytes('say "hi", it\'s'), 'say "hi", it\'s'],
    [bytes(0, '7', 7, 8, 0x1f, 0x7f), '\\0007\\007\\x08\\x1f\\x7f'],
    [bytes('grün'), 'gr\\xc3\\xbcn'],
    [bytes(0xff), '\\xff'],
  ])('%j is %s, as xenstore-ls has it', (value, text) => expect(escapeValue(value)).toBe(text));

  it.each([
    ['\\x4', bytes(4)],
    ['\\x4g', bytes(4, 'g')],
    ['\\1018', bytes('A8')],
    ['\\0', bytes(0)],
    ['\\377', bytes(255)],
    ['\\\'\\"', bytes('\'"')],
    ['größe\\t', bytes('größe\t')],
    ['', bytes()],
  ])('%s means %j, as for xenstore-write', (text, value) => expect(unescapeValue(text)).toEqual(value));

  it.each([
    ['C:\\path', '\\p is no escape'],
    ['end\\', '\\ is no escape'],
    ['\\xyz', '\\x is no escape'],
    ['\\777', '\\777 is no escape'],
    ['\\\u001b[31m', '\\\\x1b is no escape'],
  ])('%s is refused', (text, message) => expect(() => unescapeValue(text)).toThrow(message));
});
