// Strings as xenstore's messages carry them. Xen: docs/misc/xenstore.txt
import { XenError } from './errors.ts';

export const encoder = new TextEncoder();
const decoder = new TextDecoder();
export const text = (payload: Uint8Array): string => decoder.decode(payload);

/** Strings each followed by a NUL, which is most of the protocol. */
export function strings(...parts: (string | number)[]): Uint8Array {
  for (const part of parts) {
    if (typeof part === 'string' && part.includes('\0'))
      throw new XenError('EINVAL', 'a NUL byte in a xenstore string');
  }
  return encoder.encode(parts.map(part => `${part}\0`).join(''));
}
export const NOTHING = strings('');

/** The strings of a reply; one that lacks its last NUL is taken as if it were there. */
export function split(payload: Uint8Array): string[] {
  const parts = text(payload).split('\0');
  if (parts.at(-1) === '') parts.pop();
  return parts;
}

/** The path of the node above; the root is its own. */
export const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';
