// xl store ls

import type { XenstoreClient } from '#pvbus';
import { colours, wantsColours } from '../../store/colours.ts';
import { withStore } from '../../store/connect-store.ts';
import { domainNames } from '../../store/domain-names.ts';
import { jsonDocument, jsonValue } from '../../store/json-entry.ts';
import { type Listed, listing } from '../../store/listing.ts';
import { preorder, readBelow, type StoreNode } from '../../store/tree.ts';
import type { RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

interface Snapshot {
  readonly nodes: readonly StoreNode<Listed>[];
  readonly domains: ReadonlyMap<string, string>;
}

export const run: RunCommand = async (args, context) => {
  const long = [
    { name: 'full', as: 'f' },
    { name: 'perms', as: 'p' },
    { name: 'json', as: 'json' },
  ];
  const line = commandLine(args, context, 'fp', long, 0);
  if (typeof line === 'number') return line;
  const { stdout, env } = context.io;
  const roots = line.args.length === 0 ? ['/'] : line.args;
  const json = line.options.has('json');
  const coloured = !json && wantsColours(stdout, env);
  const what = { perms: line.options.has('p'), domains: coloured };
  const { nodes, domains } = await withStore(env, store => snapshot(store, roots, what));
  if (json) {
    const entries = [...preorder(nodes)].map(({ node: { path, found } }) => ({
      ...{ path, ...jsonValue(found.value) },
      ...(found.perms === undefined ? {} : { perms: found.perms }),
    }));
    stdout.write(jsonDocument(entries));
    return 0;
  }
  const style = {
    colours: colours(coloured),
    full: line.options.has('f'),
    width: (stdout.isTTY && stdout.columns) || undefined, // a terminal without a size says 0
    domains,
  };
  stdout.write([...listing(nodes, style)].map(text => `${text}\n`).join(''));
  return 0;
};

function snapshot(
  store: XenstoreClient,
  roots: readonly string[],
  what: { readonly perms: boolean; readonly domains: boolean },
): Promise<Snapshot> {
  return store.transaction(async tx => {
    const look = async (path: string): Promise<Listed> => {
      const [value, perms] = await Promise.all([
        store.readBytes(path, tx),
        what.perms ? store.getPerms(path, tx) : undefined,
      ]);
      return { value, perms };
    };
    const nodes: StoreNode<Listed>[] = [];
    for (const root of roots) nodes.push(...(await readBelow(store, root, tx, look)));
    return { nodes, domains: what.domains ? await domainNames(store, nodes, tx) : new Map() };
  });
}
