// The guest's side of grant tables: pages shared with one peer, grant references, mappings of others'.

import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_setup_table,
  GNTTABOP_unmap_grant_ref,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_writing,
  gnttab_copy,
  gnttab_map_grant_ref,
  gnttab_setup_table,
  gnttab_unmap_grant_ref,
  grant_entry_v1,
} from './abi/grant_table.ts';
import { __HYPERVISOR_grant_table_op, DOMID_SELF } from './abi/xen.ts';
import {
  __HYPERVISOR_xenolith_op,
  KIND_FORGET,
  KIND_OVERLAY,
  KIND_POOL,
  KIND_RESTORE,
  MAX_GRANT_FRAMES,
  PAGE_SIZE,
  POOL_SIZE,
  POOL_SPAN,
  XENOLITH_POOL_readonly,
  XENOLITHOP_pool_populate,
  XENOLITHOP_pool_release,
  xenolith_pool_populate,
} from './abi/xenolith.ts';
import { Arena } from './arena.ts';
import { type Domid, type Gfn, type Gref, gref } from './brands.ts';
import { errnoName, gntstName, XenError } from './errors.ts';
import { type ControlMessage, closeFd } from './linux.ts';
import type { Page } from './page.ts';
import { PoolView } from './pool-view.ts';
import { getU64 } from './struct.ts';
import type { InheritedMapping } from './succession.ts';
import type { Vcpu } from './vcpu.ts';

const GRANTS_PER_FRAME = PAGE_SIZE / grant_entry_v1.size;
const NR_RESERVED = 8;

/** Frames of this domain that `peer` may be granted: contiguous here and in the peer's mapping. */
export interface SharedPages {
  readonly peer: Domid;
  readonly gfn: Gfn;
  readonly count: number;
  /** All of them. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  page(i: number): Page;
  /** Give the frames back. Every grant of them must have ended. */
  release(): void;
}

/** A page of `granter` that is mapped here. */
export interface GrantMapping {
  readonly granter: Domid;
  readonly ref: Gref;
  readonly handle: number;
  readonly page: Page;
  /** The part of the pool the page lies in, and where: neighbours in it can be used as one. */
  readonly pool: Uint8Array;
  readonly offset: number;
}

/** As the hypervisor knows it. */
type Mapped = Pick<GrantMapping, 'granter' | 'ref' | 'handle'>;

/** One side of a GNTTABOP_copy: a gref of another domain, or a frame of this one. */
export type CopySide = { domid: Domid; ref: Gref; offset: number } | { gfn: number; offset: number };

interface Pool {
  readonly peer: number;
  /** Of a granter, which lays its pages over frames. */
  readonly file: Arena | undefined;
  /** Of a grantee. A domain may be both: its own grants can be mapped too. */
  readonly seen: PoolView | undefined;
}

export class GrantTable {
  private readonly vcpu: Vcpu;
  private readonly pools = new Map<number, Pool>();
  private readonly free: number[] = [];
  private frames = 0;
  private readonly entries: Int32Array;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
    const first = vcpu.layout.grantFrames * 1024;
    this.entries = vcpu.memory.words.subarray(first, first + MAX_GRANT_FRAMES * 1024);
  }

  // ---- granter ----

  /**
   * `count` zeroed frames that can be granted to `peer`, for reading only if `readonly`. Throws
   * ENOMEM, ENOSPC. Only vCPU 0 of a domain grants: the free grefs are its own knowledge.
   */
  allocShared(peer: Domid, count: number, readonly = false): SharedPages {
    const { vcpu } = this;
    const first = vcpu.frames.alloc(count);
    const rc = this.poolOp(XENOLITHOP_pool_populate, peer, first, count, readonly);
    if (rc < 0) {
      vcpu.frames.free(first, count);
      throw new XenError(errnoName(-rc), `dom${vcpu.domid}: ${count} pages to share with dom${peer}`);
    }
    const { memory } = vcpu;
    const at = first * PAGE_SIZE;
    const bytes = memory.bytes.subarray(at, at + count * PAGE_SIZE);
    return {
      peer,
      gfn: first,
      count,
      bytes,
      view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
      page: i => memory.page(first + i),
      release: () => {
        const result = this.poolOp(XENOLITHOP_pool_release, peer, first, count, readonly);
        if (result < 0) throw new XenError(errnoName(-result), `pages shared with dom${peer} are still granted`);
        vcpu.frames.free(first, count);
      },
    };
  }
  private poolOp(cmd: number, peer: Domid, first: Gfn, count: number, readonly: boolean): number {
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(xenolith_pool_populate.size);
    const field = xenolith_pool_populate.at;
    scratch.view.setUint16(at + field.domid, DOMID_SELF, true);
    scratch.view.setUint16(at + field.peer, peer, true);
    scratch.view.setUint32(at + field.flags, readonly ? XENOLITH_POOL_readonly : 0, true);
    scratch.view.setUint32(at + field.gfn, first, true);
    scratch.view.setUint32(at + field.nr_frames, count, true);
    return this.vcpu.hypercall(__HYPERVISOR_xenolith_op, cmd, at);
  }
  /** Let `peer` map `frame`, which must lie in pages shared with it. */
  grantAccess(peer: Domid, frame: number, readonly = false): Gref {
    const ref = this.free.pop() ?? this.grow();
    // order: frame, then flags and domid in one store, which makes the entry valid.
    Atomics.store(this.entries, ref * 2 + 1, frame | 0);
    Atomics.store(this.entries, ref * 2, (peer << 16) | GTF_permit_access | (readonly ? GTF_readonly : 0));
    return gref(ref);
  }
  /** Withdraw a grant. False while the peer uses it: the page must then not be used for anything else. */
  endAccess(ref: Gref): boolean {
    for (;;) {
      const old = Atomics.load(this.entries, ref * 2);
      if ((old & (GTF_reading | GTF_writing)) !== 0) return false;
      // The revocation itself is the test of use (XSA-396): the peer cannot map between the two.
      if (Atomics.compareExchange(this.entries, ref * 2, old, 0) === old) break;
    }
    this.free.push(ref);
    return true;
  }
  private grow(): number {
    const { scratch } = this.vcpu;
    const want = this.frames + 1;
    if (want > MAX_GRANT_FRAMES) throw new XenError('ENOSPC', `dom${this.vcpu.domid}: no free grant reference`);
    const at = scratch.reset().alloc(gnttab_setup_table.size + 8 * want);
    const field = gnttab_setup_table.at;
    scratch.view.setUint16(at + field.dom, DOMID_SELF, true);
    scratch.view.setUint32(at + field.nr_frames, want, true);
    scratch.view.setBigUint64(at + field.frame_list, BigInt(at + gnttab_setup_table.size), true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, at, 1);
    const status = scratch.view.getInt16(at + field.status, true);
    if (rc < 0) throw new XenError(errnoName(-rc), `dom${this.vcpu.domid}: setup_table`);
    if (status !== GNTST_okay) throw new XenError('ENOSPC', `dom${this.vcpu.domid}: setup_table: ${gntstName(status)}`);
    const first = Math.max(this.frames * GRANTS_PER_FRAME, NR_RESERVED);
    this.frames = want;
    for (let ref = want * GRANTS_PER_FRAME - 1; ref > first; ref--) this.free.push(ref);
    return first;
  }

  // ---- grantee ----

  /** Map `refs` of `granter`. When one fails none stays mapped, and the error names it. */
  map(granter: Domid, refs: ArrayLike<number>, readonly = false): GrantMapping[] {
    const got: GrantMapping[] = [];
    const batch = Math.floor(this.vcpu.scratch.size / gnttab_map_grant_ref.size);
    for (let from = 0; from < refs.length; from += batch) {
      const failed = this.mapBatch(granter, refs, from, Math.min(refs.length, from + batch), readonly, got);
      if (!failed) continue;
      this.unmap(got);
      throw new XenError('EINVAL', `dom${this.vcpu.domid}: map of gref ${failed.ref} of dom${granter}: ${failed.why}`);
    }
    return got;
  }
  /** Map one gref; a GNTST_ error (negative) when it cannot be. */
  tryMap(granter: Domid, ref: number, readonly = false): GrantMapping | number {
    const got: GrantMapping[] = [];
    const failed = this.mapBatch(granter, [ref], 0, 1, readonly, got);
    return failed ? failed.status : got[0]!;
  }
  private mapBatch(
    granter: Domid,
    refs: ArrayLike<number>,
    from: number,
    to: number,
    readonly: boolean,
    into: GrantMapping[],
  ): { ref: number; status: number; why: string } | undefined {
    const { scratch } = this.vcpu;
    const { view } = scratch;
    const { size, at: field } = gnttab_map_grant_ref;
    const base = scratch.reset().alloc(size * (to - from));
    for (let i = from; i < to; i++) {
      const at = base + (i - from) * size;
      // A host address other than 0, so that an unmap names the mapping.
      view.setUint32(at + field.host_addr, PAGE_SIZE, true);
      view.setUint32(at + field.flags, GNTMAP_host_map | (readonly ? GNTMAP_readonly : 0), true);
      view.setUint32(at + field.ref, refs[i]!, true);
      view.setUint16(at + field.dom, granter, true);
    }
    const rc = this.vcpu.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, base, to - from);
    if (rc < 0) throw new XenError(errnoName(-rc), `dom${this.vcpu.domid}: map_grant_ref of dom${granter}`);
    let failed: { ref: number; status: number; why: string } | undefined;
    for (let i = from; i < to; i++) {
      const at = base + (i - from) * size;
      const status = view.getInt16(at + field.status, true);
      if (status !== GNTST_okay) {
        failed ??= { ref: refs[i]!, status, why: gntstName(status) };
        continue;
      }
      const place = getU64(view, at + field.dev_bus_addr);
      const handle = view.getUint32(at + field.handle, true);
      try {
        into.push(this.adopt({ granter, ref: gref(refs[i]!), handle, place }));
      } catch (error) {
        // Mapped as far as the hypervisor knows: what stays so keeps the granter from ever being gone.
        this.unmap([...into.splice(0), ...this.mappedBetween(granter, at, base + (to - from) * size)]);
        throw error;
      }
    }
    return failed;
  }
  /** Of the arguments of a map from `at` to `end`, those that were mapped. */
  private mappedBetween(granter: Domid, at: number, end: number): Mapped[] {
    const { view } = this.vcpu.scratch;
    const { size, at: field } = gnttab_map_grant_ref;
    return Array.from({ length: (end - at) / size }, (_, i) => at + i * size)
      .filter(arg => view.getInt16(arg + field.status, true) === GNTST_okay)
      .map(arg => ({
        granter,
        ref: gref(view.getUint32(arg + field.ref, true)),
        handle: view.getUint32(arg + field.handle, true),
      }));
  }
  /** What is mapped already, by the thread that was this vCPU before. */
  adopt({ granter, ref, handle, place }: InheritedMapping): GrantMapping {
    const pool = this.pools.get(Math.floor(place / POOL_SPAN));
    if (pool && !pool.seen)
      throw new XenError('EMFILE', `gref ${ref} of dom${granter}: no descriptor was left when its pool was sent`);
    if (!pool?.seen) throw new Error(`gref ${ref} of dom${granter} lies in a pool the hypervisor has not sent`);
    const { page, part, offset } = pool.seen.at(place % POOL_SPAN);
    return { granter, ref, handle, page, pool: part, offset };
  }
  unmap(mappings: readonly Mapped[]): void {
    const { scratch } = this.vcpu;
    const { view } = scratch;
    const { size, at: field } = gnttab_unmap_grant_ref;
    const batch = Math.floor(scratch.size / size);
    for (let from = 0; from < mappings.length; from += batch) {
      const part = mappings.slice(from, from + batch);
      const base = scratch.reset().alloc(size * part.length);
      part.forEach((mapping, i) => {
        view.setUint32(base + i * size + field.host_addr, PAGE_SIZE, true);
        view.setUint32(base + i * size + field.handle, mapping.handle, true);
      });
      const rc = this.vcpu.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, base, part.length);
      if (rc < 0) throw new XenError(errnoName(-rc), `dom${this.vcpu.domid}: unmap_grant_ref`);
      part.forEach((mapping, i) => {
        const status = view.getInt16(base + i * size + field.status, true);
        if (status !== GNTST_okay)
          throw new XenError('EINVAL', `unmap of gref ${mapping.ref} of dom${mapping.granter}: ${gntstName(status)}`);
      });
    }
  }
  /** GNTTABOP_copy, as many as the argument memory holds (512): the GNTST_ of each. */
  copy(ops: readonly { source: CopySide; dest: CopySide; length: number }[]): number[] {
    const { scratch } = this.vcpu;
    const { view } = scratch;
    const { size, at: field } = gnttab_copy;
    const base = scratch.reset().alloc(size * ops.length);
    ops.forEach((op, i) => {
      const at = base + i * size;
      const side = (o: number, s: CopySide) => {
        if ('ref' in s) view.setUint32(o, s.ref, true);
        else view.setBigUint64(o, BigInt(s.gfn), true);
        view.setUint16(o + 8, 'ref' in s ? s.domid : DOMID_SELF, true);
        view.setUint16(o + 10, s.offset, true);
      };
      side(at + field.source, op.source);
      side(at + field.dest, op.dest);
      view.setUint16(at + field.len, op.length, true);
      view.setUint16(at + field.flags, ('ref' in op.source ? 1 : 0) | ('ref' in op.dest ? 2 : 0), true);
    });
    const rc = this.vcpu.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, base, ops.length);
    if (rc < 0) throw new XenError(errnoName(-rc), `dom${this.vcpu.domid}: gnttab_copy`);
    return ops.map((_, i) => view.getInt16(base + i * size + field.status, true));
  }

  // ---- what the hypervisor tells ----

  /** KIND_POOL, KIND_OVERLAY, KIND_RESTORE, KIND_FORGET. */
  control(m: ControlMessage): void {
    const { domid, memory } = this.vcpu;
    if (m.kind === KIND_POOL) {
      const granter = m.b & 0xffff;
      const grantee = (m.b >>> 16) & 0xffff;
      const peer = granter === domid ? grantee : granter;
      // Without a descriptor it is lost: who needs it is refused.
      const lost = m.fd < 0;
      const seen = grantee === domid && !lost ? new PoolView(m.fd) : undefined;
      const file = granter === domid && !lost ? Arena.adoptUnseen(m.fd, POOL_SIZE) : undefined;
      if (!file && !lost) closeFd(m.fd);
      this.pools.set(m.a, { peer, file, seen });
    } else if (m.kind === KIND_OVERLAY) {
      const pool = this.pools.get(Math.floor(m.b / POOL_SPAN));
      if (!pool?.file)
        throw new Error(
          pool ? 'no descriptor was left for pages that are shared' : 'frames of a pool the hypervisor has not sent',
        );
      const place = m.b % POOL_SPAN;
      memory.overlay(m.a % 2 ** 32, pool.file, place / PAGE_SIZE, Math.floor(m.a / 2 ** 32));
    } else if (m.kind === KIND_RESTORE) memory.restore(m.a % 2 ** 32, Math.floor(m.a / 2 ** 32));
    else if (m.kind === KIND_FORGET) {
      for (const [id, pool] of this.pools) {
        if (pool.peer !== m.a) continue;
        pool.file?.release();
        pool.seen?.release();
        this.pools.delete(id);
      }
    }
  }
}
