// The table of docs/xenstore.md in which the differences from Xen's daemons are explained.
import { readFileSync } from 'node:fs';

const DOCUMENT = new URL('../../docs/xenstore.md', import.meta.url);
const SECTION = '## Differences from the daemons of Xen';
/** What the cell of a daemon holds that does as ours does. */
const NONE = '–';

/** What the table explains, as `c name` or `ocaml name`. */
export function explainedDifferences(): Set<string> {
  const text = readFileSync(DOCUMENT, 'utf8');
  const from = text.indexOf(SECTION);
  const section = text.slice(from, text.indexOf('\n## ', from + 1));
  const explained = new Set<string>();
  for (const line of section.split('\n')) {
    const [, name, c, ocaml] = /^\| `([a-z0-9-]+)` \| (.+?) \| (.+?) \| .+ \|$/.exec(line) ?? [];
    if (name === undefined) continue;
    if (c !== NONE) explained.add(`c ${name}`);
    if (ocaml !== NONE) explained.add(`ocaml ${name}`);
  }
  return explained;
}
