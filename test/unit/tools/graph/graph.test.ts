// xl graph: the structure of both formats, the same text every time, and names that try to be syntax.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mermaid } from '../../../../tools/graph/mermaid.ts';
import type { Graph, GraphEdge, GraphNode } from '../../../../tools/graph/model.ts';
import { svg } from '../../../../tools/graph/svg.ts';
import { xl } from '../../../support/xl.ts';

const TOPOLOGY = `
bridges: [office, spare]
domains:
  stor: { kernel: k.js, memory: 16, disk: ["/srv/raw.img,raw,xvda,w"], driver_domain: 1 }
  web: { kernel: k.js, memory: 32, vcpus: 2, disk: ["www.img,raw,xvda,r", "format=raw,vdev=xvdb,access=rw,backend=stor,target=/srv/b.img"], vif: ["bridge=office"] }
host_ports:
  - { host: 8080, domain: web, guest: 80 }
`;
let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'xl-graph-'));
  writeFileSync(join(cwd, 't.yaml'), TOPOLOGY);
});
afterAll(() => rmSync(cwd, { recursive: true, force: true }));
const graph = async (...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await xl(['graph', 't.yaml', ...args], { cwd });
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
};

/** Every element with its attributes, in order; throws where the text is not well-formed. */
function elements(xml: string): { name: string; attributes: Record<string, string>; text: string }[] {
  const found: ReturnType<typeof elements> = [];
  const open: string[] = [];
  let rest = xml;
  while (rest !== '') {
    const [whole, close, name, attributes, single, text] =
      /^<(\/)?([a-z]+)((?: [a-zA-Z:-]+="[^"<]*")*)(\/)?>([^<]*)/.exec(rest) ?? [];
    if (whole === undefined) throw new Error(`not XML: ${rest.slice(0, 60)}`);
    if (/&(?!amp;|lt;|gt;|quot;|#39;)/.test(whole)) throw new Error(`not escaped: ${whole}`);
    if (close) expect(open.pop()).toBe(name);
    else {
      const pairs = [...attributes!.matchAll(/([a-zA-Z:-]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!]);
      found.push({ name: name!, attributes: Object.fromEntries(pairs), text: text!.trim() });
      if (!single) open.push(name!);
    }
    rest = rest.slice(whole.length);
  }
  expect(open).toEqual([]);
  return found;
}

describe('xl graph of a topology without a host', () => {
  it('has a node for every domain, disk, bridge and port, and an edge for every device and backend', async () => {
    const { nodes, edges } = JSON.parse(await graph('--json')) as Graph;
    expect(nodes.map(({ id }) => id).sort()).toEqual(
      [
        ...['bridge:office', 'bridge:spare', `disk:${cwd}/www.img`, 'disk:/srv/b.img', 'disk:/srv/raw.img'].sort(),
        ...['domain:Domain-0', 'domain:stor', 'domain:web', 'port:8080'],
      ].sort(),
    );
    expect(edges).toEqual(
      expect.arrayContaining([
        { from: 'domain:web', to: `disk:${cwd}/www.img`, label: 'xvda ro', state: null },
        { from: 'domain:web', to: 'disk:/srv/b.img', label: 'xvdb rw', state: null },
        { from: 'disk:/srv/b.img', to: 'domain:stor', label: 'blkback', state: null },
        { from: 'domain:web', to: 'bridge:office', label: 'vif0', state: null },
        { from: 'bridge:office', to: 'domain:Domain-0', label: 'netback', state: null },
        { from: 'domain:web', to: 'port:8080', label: 'listens on 80', state: null },
      ]),
    );
    expect(nodes.find(({ id }) => id === 'domain:web')).toMatchObject({ detail: '32 MiB, 2 vcpus', state: null });
  });

  it('is drawn as SVG: a box a node, a line an edge, no two boxes one over the other, all inside', async () => {
    const { nodes, edges } = JSON.parse(await graph('--json')) as Graph;
    const found = elements(await graph());
    const [root, ...rest] = found;
    const size = { width: Number(root!.attributes.width), height: Number(root!.attributes.height) };
    const boxes = rest
      .filter(({ name, attributes }) => name === 'rect' && attributes.x !== undefined)
      .map(({ attributes: { x, y, width, height } }) => ({
        x: Number(x),
        y: Number(y),
        w: Number(width),
        h: Number(height),
      }));
    expect(boxes).toHaveLength(nodes.length);
    expect(rest.filter(({ name }) => name === 'path')).toHaveLength(edges.length);
    for (const [i, a] of boxes.entries()) {
      expect(a.x >= 0 && a.y >= 0 && a.x + a.w <= size.width && a.y + a.h <= size.height).toBe(true);
      for (const b of boxes.slice(i + 1))
        expect(a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y).toBe(true);
    }
    const texts = rest.filter(({ name }) => name === 'text').map(({ text }) => text);
    for (const text of ['web', 'stor', 'www.img', 'office', 'port 8080', 'xvda ro', 'vif0'])
      expect(texts).toContain(text);
  });

  it('is written as Mermaid', async () => {
    const lines = (await graph('--format', 'mermaid')).trimEnd().split('\n');
    expect(lines[0]).toBe('flowchart LR');
    const web = /^ {2}(n\d+)\["web<br\/>32 MiB, 2 vcpus"\]:::none$/m.exec(lines.join('\n'))![1]!;
    const office = /^ {2}(n\d+)\{\{"office"\}\}:::none$/m.exec(lines.join('\n'))![1]!;
    expect(lines).toContain(`  ${web} ---|"vif0"| ${office}`);
  });

  it('is the same text every time', async () => {
    for (const format of ['svg', 'mermaid'])
      expect(await graph('--format', format)).toBe(await graph('--format', format));
  });

  it('knows two formats, and needs a host or a file', async () => {
    expect(await xl(['graph', 't.yaml', '--format', 'png'], { cwd })).toMatchObject({
      ...{ code: 2, stderr: 'xl graph: --format png: expected svg or mermaid\n' },
    });
    expect((await xl(['graph'], { cwd })).stderr).toContain('no xenolith host runs');
  });
});

describe('a graph', () => {
  const node = (label: string, state: string | null = null): GraphNode => ({
    ...{ id: `domain:${label}`, kind: 'domain', label, detail: '', state },
  });
  const nasty = [
    '</text><script>alert(1)</script>',
    'a"] --> b["x',
    '`md` & %%{init}%%',
    'end\nn9[x]',
    '\x1b[31m\u0000',
    '#quot;',
  ];

  it('escapes names in both formats', () => {
    const edges: GraphEdge[] = nasty.map(name => ({
      from: `domain:${name}`,
      to: 'domain:b',
      label: name,
      state: name,
    }));
    const all = { nodes: [...nasty.map(name => node(name, name)), node('b')], edges };
    const names = new Set(elements(svg(all)).map(({ name }) => name));
    expect([...names].sort()).toEqual(['g', 'path', 'rect', 'svg', 'text', 'title']);
    expect(svg(all).replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
    const text = mermaid(all).trimEnd().split('\n');
    expect(text).toHaveLength(1 + all.nodes.length + edges.length + 4);
    for (const line of text.slice(1, 1 + all.nodes.length))
      expect(line).toMatch(
        /^ {2}n\d+\["[\p{L}\p{N} .,_/:()@+#;-]*(<br\/>[\p{L}\p{N} .,_/:()@+#;-]*)?"\]:::(none|other)$/u,
      );
    for (const line of text.slice(1 + all.nodes.length, -4))
      expect(line).toMatch(/^ {2}n\d+ -\.-\|"[\p{L}\p{N} .,_/:()@+#;-]*"\| n\d+$/u);
  });

  it('cuts what does not fit a box, and keeps it whole in its title', () => {
    const long = 'x'.repeat(200);
    const found = elements(svg({ nodes: [node(long)], edges: [] }));
    expect(found.find(({ name }) => name === 'text')!.text).toMatch(/^x{20,60}…$/);
    expect(found.some(({ name, text }) => name === 'title' && text.includes(long))).toBe(true);
  });

  it('shows a state by words and by colour', () => {
    const states = { running: '#2a7d2a', crashed: '#c0392b', paused: '#b8860b', absent: '#888888' };
    for (const [state, colour] of Object.entries(states)) {
      const found = elements(svg({ nodes: [node('web', state)], edges: [] }));
      expect(found.find(({ name }) => name === 'text')!.text).toBe(`web: ${state}`);
      expect(found.filter(({ name }) => name === 'rect').at(-1)!.attributes.stroke).toBe(colour);
    }
  });
});
