// Clusters that nothing leads to any more, as long as the medium may still have a name for them: they are free when it has none,
// not before, since another file may get them.
import type { FatCore } from './fat-core.ts';
import type { FatFile } from './fat-file.ts';
import { FatHandle } from './fat-handle.ts';

export class FreedClusters {
  private readonly core: FatCore;
  /** Chains that no name leads to. */
  private readonly chains: number[] = [];
  /** Files whose chains are longer than they are. */
  private readonly shortened = new Set<FatFile>();

  constructor(core: FatCore) {
    this.core = core;
  }

  /** The chain that begins there; 0 is none. */
  add(cluster: number): void {
    if (cluster !== 0) this.chains.push(cluster);
  }
  /** What is behind the end of a file. */
  cutLater(node: FatFile): void {
    this.shortened.add(node);
  }
  /** Its chain is as long as it is, or goes whole. */
  cutNever(node: FatFile): void {
    this.shortened.delete(node);
  }
  isShortened(node: FatFile): boolean {
    return this.shortened.has(node);
  }
  get any(): boolean {
    return this.chains.length + this.shortened.size > 0;
  }
  /** order: after a flush. Returns the files that were cut. */
  release(what: string): FatFile[] {
    for (let cluster = this.chains.pop(); cluster !== undefined; cluster = this.chains.pop()) {
      FatHandle.freeChain(this.core, cluster);
    }
    const cut = [...this.shortened];
    for (const node of cut) {
      node.cut(what);
      this.shortened.delete(node);
    }
    return cut;
  }
}
