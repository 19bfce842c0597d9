// args_get, args_sizes_get, environ_get, environ_sizes_get.
import type { Process } from '../process/process.ts';
import { at, bytesAt, textBytes } from './memory.ts';

type Strings = (process: Process) => Iterable<string>;

const args: Strings = process => process.argv;
function* environ({ env }: Process): Iterable<string> {
  for (const [name, value] of env) yield `${name}=${value}`;
}

/** Pointers into a table, the strings with a NUL behind each into a buffer. */
const get =
  (strings: Strings) =>
  (process: Process, table: number, buffer: number): number => {
    let entry = table >>> 0;
    let text = buffer >>> 0;
    for (const string of strings(process)) {
      const bytes = textBytes(string);
      const place = bytesAt(process, text, bytes.length + 1);
      const pointer = at(process, entry, 4);
      place.set(bytes);
      place[bytes.length] = 0;
      process.view.setUint32(pointer, text, true);
      entry += 4;
      text += bytes.length + 1;
    }
    return 0;
  };

const sizes =
  (strings: Strings) =>
  (process: Process, count: number, size: number): number => {
    const countAt = at(process, count, 4);
    const sizeAt = at(process, size, 4);
    let n = 0;
    let total = 0;
    for (const string of strings(process)) {
      n++;
      total += textBytes(string).length + 1;
    }
    process.view.setUint32(countAt, n, true);
    process.view.setUint32(sizeAt, total, true);
    return 0;
  };

export const argsEnvironCalls = {
  args_get: get(args),
  args_sizes_get: sizes(args),
  environ_get: get(environ),
  environ_sizes_get: sizes(environ),
};
