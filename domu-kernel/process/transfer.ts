// What routines of the kernel do with open files and file systems: the same calls, waited for.
import { XenError } from '#pvbus';
import { FileSystemBusy } from '../fs/file-system.ts';
import type { OpenFile } from './open-file.ts';
import { Wait } from './wait.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export type Waiting<T> = Generator<Wait, T, void>;

/** A call of a file system that another process may keep busy. */
export function* attempt<T>(act: () => T): Waiting<T> {
  for (;;) {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof FileSystemBusy)) throw error;
      yield new Wait([error.idle]);
    }
  }
}
/** All of it. */
export function* writeBytes(file: OpenFile, bytes: Uint8Array): Waiting<void> {
  for (let at = 0; at < bytes.length; ) {
    const n = yield* attempt(() => file.write(bytes.subarray(at)));
    if (n instanceof Wait) yield n;
    else at += n;
  }
}
export function* writeText(file: OpenFile, text: string): Waiting<void> {
  yield* writeBytes(file, encoder.encode(text));
}
/** What has gone wrong, to who may read it. */
export function* tell(stderr: OpenFile, line: string): Waiting<void> {
  try {
    yield* writeText(stderr, `${line}\n`);
  } catch (error) {
    // Nobody is there to read it.
    if (!(error instanceof XenError)) throw error;
  }
}
/** At least a byte; 0 at the end. */
export function* readBytes(file: OpenFile, into: Uint8Array): Waiting<number> {
  for (;;) {
    const n = yield* attempt(() => file.read(into));
    if (!(n instanceof Wait)) return n;
    yield n;
  }
}
/** To the end. EFBIG when that is more than `most` bytes. */
export function* readAll(file: OpenFile, most: number): Waiting<string> {
  // One buffer: what is read in small parts costs no more than what they hold.
  let bytes = new Uint8Array(65536);
  for (let length = 0; ; ) {
    if (length === bytes.length) {
      const larger = new Uint8Array(2 * length);
      larger.set(bytes);
      bytes = larger;
    }
    const n = yield* readBytes(file, bytes.subarray(length));
    if (n === 0) return decoder.decode(bytes.subarray(0, length));
    length += n;
    if (length > most) throw new XenError('EFBIG', `more than ${most} bytes`);
  }
}
/** Without its newline, and no byte beyond; undefined at the end. */
export function* readLine(file: OpenFile, most = 65536): Waiting<string | undefined> {
  const { text, whole } = yield* readPart(file, most);
  return whole || text !== '' ? text : undefined;
}
/** The same, and whether there was a newline; a line that is too long comes in parts. */
export function* readPart(file: OpenFile, most = 65536): Waiting<{ readonly text: string; readonly whole: boolean }> {
  const bytes: number[] = [];
  const one = new Uint8Array(1);
  for (;;) {
    const n = yield* readBytes(file, one);
    if (n === 0 || one[0] === 10 || bytes.length === most)
      return { text: decoder.decode(Uint8Array.from(bytes)), whole: n > 0 };
    bytes.push(one[0]!);
  }
}
