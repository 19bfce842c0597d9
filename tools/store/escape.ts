// Values as text, in the escapes of Debian's xenstore-ls and xenstore-write.

import { XenError } from '#pvbus';

const NAMED: Readonly<Record<number, string>> = { 9: '\\t', 10: '\\n', 13: '\\r', 92: '\\\\' };

/** One printable ASCII text for each byte. */
const ESCAPED: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const named = NAMED[byte];
  if (named !== undefined) return named;
  if (byte >= 0x20 && byte < 0x7f) return String.fromCharCode(byte);
  return byte < 8 ? `\\00${byte}` : `\\x${byte.toString(16).padStart(2, '0')}`;
});

/** Safe to show on a terminal, whoever wrote the value; `unescapeValue` gives the same bytes again. */
export function escapeValue(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += ESCAPED[byte];
  return text;
}

/** A name that came from the daemon or a person, for the same terminal. */
export const escapeText = (text: string): string => escapeValue(Buffer.from(text));

const LETTERS: Readonly<Record<string, number>> = { t: 9, n: 10, r: 13, '\\': 92, '"': 34, "'": 39 };
/** A backslash and what belongs to it; the backslash alone when nothing does. */
const ESCAPE = /\\(?:([tnr\\"'])|x([0-9a-fA-F]{1,2})|([0-7]{1,3}))?/g;

/** Throws EINVAL for a backslash that begins none of the escapes: it was hardly meant to vanish. */
export function unescapeValue(text: string): Uint8Array {
  const parts: Uint8Array[] = [];
  let from = 0;
  for (const match of text.matchAll(ESCAPE)) {
    const end = match.index + match[0].length;
    const byte = meaningOf(match);
    if (byte === undefined || byte > 0xff) {
      const rest = escapeText(text.slice(match.index + 1, Math.max(end, match.index + 2)));
      throw new XenError('EINVAL', `\\${rest} is no escape`);
    }
    parts.push(Buffer.from(text.slice(from, match.index)), Uint8Array.of(byte));
    from = end;
  }
  return Buffer.concat([...parts, Buffer.from(text.slice(from))]);
}

function meaningOf([, letter, hex, octal]: RegExpExecArray): number | undefined {
  if (letter !== undefined) return LETTERS[letter];
  if (hex !== undefined) return Number.parseInt(hex, 16);
  return octal === undefined ? undefined : Number.parseInt(octal, 8);
}
