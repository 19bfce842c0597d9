// A graph as SVG: domains with their devices on the left, what these reach in the middle, who serves it on the right.
// The same graph is the same text.

import type { Graph, GraphEdge, GraphNode } from './model.ts';
import { type Tone, toneOf } from './tone.ts';

const MARGIN = 20;
const LEFT = { x: MARGIN, width: 300 };
const MIDDLE = { x: 440, width: 280 };
const RIGHT = { x: 820, width: 200 };
const LINE = 18;
const PADDING = 8;
const GAP = 16;
const COLOURS: Readonly<Record<Tone, string>> = { good: '#2a7d2a', bad: '#c0392b', other: '#b8860b', none: '#888888' };
/** What fits a box, about. */
const CHAR_WIDTH = 7.3;

/** untrusted: names; and no control character is allowed in XML, escaped or not. */
function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[^\P{C}]|[\u{fffe}\u{ffff}]/gu, '?').replace(/[&<>"']/g, c => entities[c]!);
}

function fitted(text: string, width: number): string {
  const room = Math.floor((width - 2 * PADDING) / CHAR_WIDTH);
  const chars = [...text];
  return chars.length <= room ? text : `${chars.slice(0, room - 1).join('')}…`;
}

interface Box {
  readonly node: GraphNode;
  readonly column: { readonly x: number; readonly width: number };
  readonly y: number;
  readonly lines: readonly string[];
}
const heightOf = (lines: number): number => lines * LINE + 2 * PADDING;
const middleOf = ({ y, lines }: Box): number => y + heightOf(lines.length) / 2;

export function svg({ nodes, edges }: Graph): string {
  const boxes = new Map<string, Box>();
  const isBackend = ({ id }: GraphNode): boolean => edges.some(({ to }) => to === id);
  const hasDevices = ({ id }: GraphNode): boolean => edges.some(({ from }) => from === id);
  const domains = nodes.filter(({ kind }) => kind === 'domain');
  // One that serves and has nothing itself is on the right; Domain-0 is the usual one.
  const right = domains.filter(node => isBackend(node) && !hasDevices(node));
  const place = (column: Box['column'], list: readonly GraphNode[], devices: boolean): number => {
    let y = MARGIN;
    for (const node of list) {
      const title = node.state === null ? node.label : `${node.label}: ${node.state}`;
      const rows = devices ? edges.filter(({ from }) => from === node.id).map(rowText) : [];
      const lines = [title, ...(node.detail === '' ? [] : [node.detail]), ...rows];
      boxes.set(node.id, { node, column, y, lines });
      y += heightOf(lines.length) + GAP;
    }
    return y;
  };
  const left = domains.filter(node => !right.includes(node));
  let bottom = place(LEFT, left, true);
  // What is reached stands beside who reaches it, which keeps lines from crossing; equals keep their order.
  const weight = (node: GraphNode): number => {
    const ys = edges.filter(({ to }) => to === node.id).flatMap(edge => exitOf(edge, boxes, edges)?.y ?? []);
    return ys.length === 0 ? 0 : ys.reduce((a, b) => a + b) / ys.length;
  };
  const reached = nodes.filter(({ kind }) => kind !== 'domain').map((node, i) => ({ node, i, at: weight(node) }));
  reached.sort((a, b) => a.at - b.at || a.i - b.i);
  const middle = reached.map(({ node }) => node);
  bottom = Math.max(bottom, place(MIDDLE, middle, false), place(RIGHT, right, false));
  const width = RIGHT.x + RIGHT.width + MARGIN;
  const height = bottom - GAP + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" font-family="monospace" font-size="12">`,
    '<title>domains, and what they reach</title>',
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...edges.flatMap(edge => line(edge, boxes, edges)),
    ...[...boxes.values()].map(draw),
    '</svg>\n',
  ].join('\n');
}

const rowText = ({ label, state }: GraphEdge): string => (state === null ? label : `${label}, ${state}`);

/** Where a line leaves its box: at the device's row on the left, at the middle of others. */
function exitOf(edge: GraphEdge, boxes: ReadonlyMap<string, Box>, edges: readonly GraphEdge[]) {
  const box = boxes.get(edge.from);
  if (box === undefined) return undefined;
  const { column, y, lines } = box;
  const rows = edges.filter(({ from }) => from === edge.from);
  const row = column === LEFT ? lines.length - rows.length + rows.indexOf(edge) : -1;
  return { x: column.x + column.width, y: row < 0 ? middleOf(box) : y + PADDING + row * LINE + LINE / 2 };
}

function line(edge: GraphEdge, boxes: ReadonlyMap<string, Box>, edges: readonly GraphEdge[]): string[] {
  const to = boxes.get(edge.to);
  const from = boxes.get(edge.from);
  const exit = exitOf(edge, boxes, edges);
  if (to === undefined || from === undefined || exit === undefined) return [];
  // Back to a domain on the left that serves what it is reached by.
  const back = to.column.x < from.column.x;
  const x1 = back ? from.column.x : exit.x;
  const x2 = back ? to.column.x + to.column.width : to.column.x;
  const y2 = back ? to.y + PADDING + LINE / 2 : middleOf(to);
  const bend = (x1 + x2) / 2;
  const dashes = edge.state === null || edge.state === 'connected' ? '' : ' stroke-dasharray="5 4"';
  const title = `<title>${escaped(rowText(edge))}</title>`;
  return [
    `<path d="M${x1} ${exit.y} C${bend} ${exit.y} ${bend} ${y2} ${x2} ${y2}" fill="none" stroke="${COLOURS[toneOf(edge.state)]}"${dashes}>${title}</path>`,
  ];
}

const ROUND: Readonly<Record<GraphNode['kind'], number>> = { domain: 3, bridge: 12, disk: 3, port: 20 };

function draw({ node, column, y, lines }: Box): string {
  const { x, width } = column;
  const fill = node.kind === 'domain' ? '#f7f9fc' : '#fdf8ee';
  const text = lines.map((content, i) => {
    const bold = i === 0 ? ' font-weight="bold"' : '';
    return `<text x="${x + PADDING}" y="${y + PADDING + i * LINE + 13}"${bold}>${escaped(fitted(content, width))}</text>`;
  });
  const whole = `<title>${escaped([`${node.kind} ${node.label}`, node.detail].filter(Boolean).join('\n').replaceAll('\n', ', '))}</title>`;
  return `<g>${whole}<rect x="${x}" y="${y}" width="${width}" height="${heightOf(lines.length)}" rx="${ROUND[node.kind]}" fill="${fill}" stroke="${COLOURS[toneOf(node.state)]}" stroke-width="1.5"/>${text.join('')}</g>`;
}
