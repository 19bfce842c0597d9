// A topology file -> what it asks for. Every error names the file, the line and the key.

import { dirname } from 'node:path';
import type { z } from 'zod';
import { suggestion, type TopologyFile, topologySchema } from './schema.ts';
import { dotted, readYaml } from './yaml-lines.ts';

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
  const { value, errors, lineOf } = readYaml(text, file);
  if (errors.length > 0) fail(errors);
  const result = topologySchema.safeParse(value ?? {}, { reportInput: true });
  if (!result.success) fail(issueLines(result.error.issues).map(([keys, what]) => `${file}:${lineOf(keys)}: ${what}`));
  return { ...result.data, file, dir: dirname(path), lineOf };
}

function fail(lines: readonly string[]): never {
  // untrusted: a key may be a whole map, with its line ends.
  const each = new Set(lines.map(line => line.replaceAll(/\s+/g, ' ')));
  throw new TopologyError([...each].slice(0, MAX_ERRORS).join('\n'));
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
  `name bridges images domains host_ports hints faults path size format label files recreate mtu ports host domain guest
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
