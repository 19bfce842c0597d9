// A YAML file, and where in it a key stands: what errors need.

import { type Document, isNode, LineCounter, type Node, parseDocument, visit } from 'yaml';

export interface YamlFile {
  readonly value: unknown;
  /** Syntax errors, each with file and line in front; then there is no value. */
  readonly errors: readonly string[];
  /** Line of a key: `['domains', 'web', 'memory']`; of the innermost that is there. */
  readonly lineOf: (path: readonly PropertyKey[]) => number;
}

/** `file` is what messages call it. */
export function readYaml(text: string, file: string): YamlFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, logLevel: 'error' });
  const at = (offset: number): number => lines.linePos(offset).line;
  const errors: string[] = document.errors.map(
    ({ pos, message }) => `${file}:${at(pos[0])}: ${message.replaceAll(/\s+/g, ' ')}`,
  );
  const lineOf = (keys: readonly PropertyKey[]): number => {
    for (let depth = keys.length; depth > 0; depth--) {
      // A key's line is where the key stands, which is above the value when that is a map or a list.
      const parent = depth === 1 ? document.contents : document.getIn(keys.slice(0, depth - 1), true);
      const node = keyNode(parent, keys[depth - 1]);
      if (node?.range) return at(node.range[0]);
    }
    return 1;
  };
  let value: unknown;
  try {
    if (errors.length === 0) value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    // An alias of nothing, or one that stands for too much: the library finds them last, and does not say where.
    errors.push(`${file}:${aliasLine(document, at)}: ${error instanceof Error ? error.message : error}`);
  }
  return { value, errors, lineOf };
}

/** Of the first alias. */
function aliasLine(document: Document, at: (offset: number) => number): number {
  let line = 1;
  visit(document, {
    Alias: (_key, { range }) => {
      if (range) line = at(range[0]);
      return visit.BREAK;
    },
  });
  return line;
}

function keyNode(parent: unknown, key: PropertyKey | undefined): Node | undefined {
  const items = (parent as { items?: unknown[] } | null | undefined)?.items ?? [];
  if (typeof key === 'number') return isNode(items[key]) ? items[key] : undefined;
  const pairs = items as { key?: unknown }[];
  const found = pairs.find(pair => String((pair.key as { value?: unknown } | undefined)?.value ?? pair.key) === key);
  return isNode(found?.key) ? found.key : undefined;
}

/** `domains.web.disk[0]`. */
export const dotted = (keys: readonly PropertyKey[]): string =>
  keys.length === 0
    ? 'the file'
    : keys.reduce<string>(
        (text, key) => text + (typeof key === 'number' ? `[${key}]` : `${text === '' ? '' : '.'}${String(key)}`),
        '',
      );
