// A topology file -> what it asks for. Every error names the file, the line and the key.

import { dirname } from 'node:path';
import { isNode, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';
import { suggestion, type TopologyFile, topologySchema } from './schema.ts';

export class TopologyError extends Error {
  override readonly name = 'TopologyError';
}

export interface Topology extends TopologyFile {
  /** As the person named it, for messages. */
  readonly file: string;
  /** What its relative paths are relative to. */
  readonly dir: string;
  /** Line of a key: `['domains', 'web', 'memory']`; of the innermost that is there. */
  readonly lineOf: (path: readonly PropertyKey[]) => number;
}

const MAX_ERRORS = 20;

/** `path` is absolute, `file` what messages call it. Throws TopologyError with one line per error. */
export function readTopology(text: string, path: string, file: string): Topology {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true });
  const at = (offset: number): number => lines.linePos(offset).line;
  if (document.errors.length > 0) {
    fail(document.errors.map(({ pos, message }) => `${file}:${at(pos[0])}: ${message.replaceAll(/\s+/g, ' ')}`));
  }
  const lineOf = (keys: readonly PropertyKey[]): number => {
    for (let depth = keys.length; depth > 0; depth--) {
      // A key's line is where the key stands, which is above the value when that is a map or a list.
      const parent = depth === 1 ? document.contents : document.getIn(keys.slice(0, depth - 1), true);
      const node = keyNode(parent, keys[depth - 1]);
      if (node?.range) return at(node.range[0]);
    }
    return 1;
  };
  const result = topologySchema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {}, { reportInput: true });
  if (!result.success) fail(issueLines(result.error.issues).map(([keys, what]) => `${file}:${lineOf(keys)}: ${what}`));
  return { ...result.data, file, dir: dirname(path), lineOf };
}

function fail(lines: readonly string[]): never {
  throw new TopologyError([...new Set(lines)].slice(0, MAX_ERRORS).join('\n'));
}

function keyNode(parent: unknown, key: PropertyKey | undefined): Node | undefined {
  const items = (parent as { items?: unknown[] } | null | undefined)?.items ?? [];
  if (typeof key === 'number') return isNode(items[key]) ? items[key] : undefined;
  const pairs = items as { key?: unknown }[];
  const found = pairs.find(pair => String((pair.key as { value?: unknown } | undefined)?.value ?? pair.key) === key);
  return isNode(found?.key) ? found.key : undefined;
}

type Issue = z.core.$ZodIssue;

/** What is wrong, with the path of the key that is. */
function issueLines(issues: readonly Issue[], under: readonly PropertyKey[] = []): [readonly PropertyKey[], string][] {
  return issues.flatMap(issue => {
    const keys = [...under, ...issue.path];
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key): [PropertyKey[], string] => [
        [...keys, key],
        `${dotted([...keys, key])}: there is no such key${suggestion(key, OUR_KEYS)}`,
      ]);
    }
    // Of a choice, the branch that came furthest says what is wrong.
    if (issue.code === 'invalid_union') {
      const branches = issue.errors.filter(branch =>
        branch.some(({ path, code }) => path.length > 0 || code !== 'invalid_type'),
      );
      if (branches.length === 1) return issueLines(branches[0]!, keys);
    }
    return [[keys, `${dotted(keys)}: ${message(issue)}`]];
  });
}

const OUR_KEYS =
  `name bridges images domains host_ports hints path size format label files recreate mtu host domain guest
  url try`.split(/\s+/);

function message(issue: Issue): string {
  if (['invalid_type', 'invalid_union'].includes(issue.code) && issue.input === undefined) return 'it is missing';
  if (issue.code === 'invalid_type') return `expected ${EXPECTED[issue.expected] ?? issue.expected}`;
  if (issue.code === 'invalid_value') return `expected ${issue.values.map(String).join(' or ')}`;
  if (issue.code === 'too_small') return `expected at least ${issue.minimum}`;
  if (issue.code === 'too_big') return `expected at most ${issue.maximum}`;
  return issue.message;
}

const EXPECTED: Readonly<Record<string, string>> = {
  object: 'a map',
  record: 'a map',
  array: 'a list',
  string: 'text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
};

const dotted = (keys: readonly PropertyKey[]): string =>
  keys.length === 0
    ? 'the file'
    : keys.reduce<string>(
        (text, key) => text + (typeof key === 'number' ? `[${key}]` : `${text === '' ? '' : '.'}${String(key)}`),
        '',
      );
