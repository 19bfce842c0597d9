/** Ordered by `prio`, `key` and `seq`, the smallest first. A node is taken out before any of them is written. */
export interface HeapNode {
  prio: number;
  key: number;
  seq: number;
  /** The heap's: its place there, -1 outside. */
  pos: number;
}

const before = (a: HeapNode, b: HeapNode): boolean =>
  a.prio !== b.prio ? a.prio < b.prio : a.key !== b.key ? a.key < b.key : a.seq < b.seq;

/** A binary heap whose nodes know where they are, so that any of them can be taken out. A node is in one heap at most. */
export class Heap<N extends HeapNode> {
  private readonly nodes: N[] = [];

  get size(): number {
    return this.nodes.length;
  }
  /** Undefined when empty. */
  get first(): N | undefined {
    return this.nodes[0];
  }
  push(node: N): void {
    this.nodes.push(node);
    this.rise(node, this.nodes.length - 1);
  }
  remove(node: N): void {
    const at = this.posOf(node);
    const last = this.nodes.pop()!;
    this.setPos(node, -1);
    if (last === node) return;
    if (at > 0 && before(last, this.nodes[(at - 1) >> 1]!)) this.rise(last, at);
    else this.sink(last, at);
  }

  private rise(node: N, from: number): void {
    let at = from;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = this.nodes[up]!;
      if (!before(node, parent)) break;
      this.put(parent, at);
      at = up;
    }
    this.put(node, at);
  }
  private sink(node: N, from: number): void {
    const { nodes } = this;
    let at = from;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= nodes.length) break;
      if (down + 1 < nodes.length && before(nodes[down + 1]!, nodes[down]!)) down++;
      const child = nodes[down]!;
      if (!before(child, node)) break;
      this.put(child, at);
      at = down;
    }
    this.put(node, at);
  }
  private put(node: N, at: number): void {
    this.nodes[at] = node;
    this.setPos(node, at);
  }
  protected posOf(node: N): number {
    return node.pos;
  }
  protected setPos(node: N, pos: number): void {
    node.pos = pos;
  }
}
