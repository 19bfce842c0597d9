// Clusters that nothing leads to any more, as long as the medium may still have a name for them: they are free when it has none,
// not before, since another file may get them.
import type { Discards } from './discards.ts';
import type { FatCore } from './fat-core.ts';
import type { FatFile } from './fat-file.ts';
import { FatHandle } from './fat-handle.ts';
import { FatTable } from './fat-table.ts';
import type { FatGeometry } from './volume-check.ts';

export class FreedClusters {
  private readonly core: FatCore;
  private readonly geometry: FatGeometry;
  /** Where the disk takes them. */
  private readonly discards: Discards | undefined;
  /** Chains that no name leads to. */
  private readonly chains: number[] = [];
  /** Files whose chains are longer than they are. */
  private readonly shortened = new Set<FatFile>();

  constructor(core: FatCore, geometry: FatGeometry, discards: Discards | undefined) {
    this.core = core;
    this.geometry = geometry;
    this.discards = discards;
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
    // What this has read of chains that are still to go stays true while others go.
    const table = this.discards && new FatTable(this.core.device, this.geometry);
    for (let cluster = this.chains.pop(); cluster !== undefined; cluster = this.chains.pop()) {
      if (table) this.note(table, cluster);
      FatHandle.freeChain(this.core, cluster);
    }
    const cut = [...this.shortened];
    for (const node of cut) {
      const last = table && node.lastCluster(what);
      if (last && table.has(last)) this.note(table, table.get(last));
      node.cut(what);
      this.shortened.delete(node);
    }
    return cut;
  }
  private note(table: FatTable, first: number): void {
    // untrusted: a chain may lead in a circle.
    for (let cluster = first, n = 0; table.has(cluster) && n < this.geometry.clusters; n++) {
      this.discards?.add(cluster);
      cluster = table.get(cluster);
    }
  }
}
