// A graph as Mermaid's text, which GitHub and many editors draw.

import type { Graph, GraphNode } from './model.ts';
import { toneOf } from './tone.ts';

/** untrusted: a name may hold what Mermaid takes for syntax; all but plain characters become character codes. */
const escaped = (text: string): string => text.replace(/[^\p{L}\p{N} .,_/:()@+-]/gu, c => `#${c.codePointAt(0)};`);

const SHAPES: Readonly<Record<GraphNode['kind'], readonly [string, string]>> = {
  domain: ['[', ']'],
  bridge: ['{{', '}}'],
  disk: ['[(', ')]'],
  port: ['([', '])'],
};

export function mermaid({ nodes, edges }: Graph): string {
  const ids = new Map(nodes.map(({ id }, i) => [id, `n${i}`]));
  const lines = ['flowchart LR'];
  for (const { id, kind, label, detail, state } of nodes) {
    const [open, close] = SHAPES[kind];
    const text = [label, state, detail].filter(part => part !== null && part !== '').map(part => escaped(part!));
    lines.push(`  ${ids.get(id)}${open}"${text.join('<br/>')}"${close}:::${toneOf(state)}`);
  }
  for (const { from, to, label, state } of edges) {
    const arrow = state === null || state === 'connected' ? '---' : '-.-';
    const text = escaped(state === null ? label : `${label}, ${state}`);
    lines.push(`  ${ids.get(from)} ${arrow}|"${text}"| ${ids.get(to)}`);
  }
  lines.push('  classDef good stroke:#2a7d2a,stroke-width:2px', '  classDef bad stroke:#c0392b,stroke-width:2px');
  lines.push('  classDef other stroke:#b8860b,stroke-width:2px', '  classDef none stroke:#888888');
  return `${lines.join('\n')}\n`;
}
