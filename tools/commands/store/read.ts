// xl store read

import type { XenstoreClient } from '#pvbus';
import { withStore } from '../../store/connect-store.ts';
import { escapeValue } from '../../store/escape.ts';
import { about } from '../../store/failure.ts';
import { jsonDocument, jsonValue } from '../../store/json-entry.ts';
import type { RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [{ name: 'json', as: 'json' }], 1);
  if (typeof line === 'number') return line;
  const { stdout, env } = context.io;
  const values = await withStore(env, store => readAll(store, line.args));
  if (line.options.has('json')) {
    stdout.write(jsonDocument(values.map((value, i) => ({ path: line.args[i], ...jsonValue(value) }))));
  } else if (stdout.isTTY) {
    for (const value of values) context.out(escapeValue(value));
  } else {
    const end = Buffer.from(values.length > 1 ? '\n' : '');
    stdout.write(Buffer.concat(values.flatMap(value => [value, end])));
  }
  return 0;
};

/** As they were at one moment. */
function readAll(store: XenstoreClient, paths: readonly string[]): Promise<Uint8Array[]> {
  const read = (tx: number): Promise<Uint8Array[]> =>
    Promise.all(paths.map(path => about(path, store.readBytes(path, tx))));
  return paths.length > 1 ? store.transaction(read) : read(0);
}
