// One domain's part in grants: its active entries as granter, its mappings as grantee. Only a record;
// what is done with it is in grant-tables.ts.
import { grant_entry_v1, PAGE_SIZE } from '#pvbus';
import type { Domain } from './domain.ts';
import type { Pool } from './pools.ts';

const ENTRIES_PER_FRAME = PAGE_SIZE / grant_entry_v1.size;
/** Xen's maptrack entry is 16 bytes. */
const HANDLES_PER_FRAME = PAGE_SIZE / 16;

/** One domain's side of grants: as granter its active entries, as grantee its mappings. */
export class DomainGrants {
  readonly maxFrames: number;
  readonly maxHandles: number;
  /** Frames of the table in use. */
  frames = 1;

  // Active entries, by gref. What was read when an entry was first pinned holds until its last pin goes,
  // whatever the granter writes into the shared entry meanwhile.
  private pins = new Uint32Array(ENTRIES_PER_FRAME);
  private gfns = new Uint32Array(ENTRIES_PER_FRAME);
  private readonly mappers: (Domain | undefined)[] = [];
  /** The pool a mapped entry's frame lies in. */
  private readonly mappedPools: (Pool | undefined)[] = [];
  /** Entries with a pin. */
  pinned = 0;

  // Mappings of other domains' entries, by handle.
  private granters: (Domain | undefined)[] = [];
  private refs = new Uint32Array(0);
  private kinds = new Uint8Array(0);
  private hosts = new Float64Array(0);
  private vcpus = new Uint8Array(0);
  private readonly freeHandles: number[] = [];
  private usedHandles = 0;
  /** Live handles. */
  mappings = 0;

  constructor(maxFrames: number, maxMaptrackFrames: number) {
    this.maxFrames = maxFrames;
    this.maxHandles = maxMaptrackFrames * HANDLES_PER_FRAME;
  }

  get entries(): number {
    return this.frames * ENTRIES_PER_FRAME;
  }
  /** The table grows to `frames`; it never shrinks. The frames are there already, and zero. */
  grow(frames: number): void {
    if (frames <= this.frames) return;
    this.frames = frames;
    const pins = new Uint32Array(this.entries);
    pins.set(this.pins);
    this.pins = pins;
    const gfns = new Uint32Array(this.entries);
    gfns.set(this.gfns);
    this.gfns = gfns;
  }

  // ---- active entries ----

  pinsOf(ref: number): number {
    return this.pins[ref]!;
  }
  gfnOf(ref: number): number {
    return this.gfns[ref]!;
  }
  mapperOf(ref: number): Domain | undefined {
    return this.mappers[ref];
  }
  poolOf(ref: number): Pool | undefined {
    return this.mappedPools[ref];
  }
  firstPin(ref: number, mapper: Domain, gfn: number): void {
    this.mappers[ref] = mapper;
    this.gfns[ref] = gfn;
    this.pinned++;
  }
  addPin(ref: number, pin: number): void {
    this.pins[ref] = this.pins[ref]! + pin;
  }
  dropPin(ref: number, pin: number): void {
    this.pins[ref] = this.pins[ref]! - pin;
  }
  setPool(ref: number, pool: Pool | undefined): void {
    this.mappedPools[ref] = pool;
  }
  lastPinGone(ref: number): void {
    this.mappers[ref] = undefined;
    this.pinned--;
  }

  // ---- mappings ----

  get handlesLeft(): boolean {
    return this.mappings < this.maxHandles;
  }
  /** `vcpu`: of this domain, whose thread asked for it. */
  newHandle(granter: Domain, ref: number, kind: number, hostAddress: number, vcpu: number): number {
    const handle = this.freeHandles.pop() ?? this.usedHandles++;
    if (handle >= this.refs.length) this.growHandles();
    this.granters[handle] = granter;
    this.refs[handle] = ref;
    this.kinds[handle] = kind;
    this.hosts[handle] = hostAddress;
    this.vcpus[handle] = vcpu;
    this.mappings++;
    return handle;
  }
  private growHandles(): void {
    const size = Math.max(64, this.refs.length * 2);
    const grown = <T extends { set(from: T): void }>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.refs = grown(new Uint32Array(size), this.refs);
    this.kinds = grown(new Uint8Array(size), this.kinds);
    this.hosts = grown(new Float64Array(size), this.hosts);
    this.vcpus = grown(new Uint8Array(size), this.vcpus);
  }
  freeHandle(handle: number): void {
    this.granters[handle] = undefined;
    this.kinds[handle] = 0;
    this.freeHandles.push(handle);
    this.mappings--;
  }
  /** undefined for a handle that is not live. */
  granterOf(handle: number): Domain | undefined {
    return handle < this.usedHandles ? this.granters[handle] : undefined;
  }
  refOf(handle: number): number {
    return this.refs[handle]!;
  }
  /** GNTMAP_host_map, GNTMAP_device_map and GNTMAP_readonly. */
  kindOf(handle: number): number {
    return this.kinds[handle]!;
  }
  setKind(handle: number, kind: number): void {
    this.kinds[handle] = kind;
  }
  vcpuOf(handle: number): number {
    return this.vcpus[handle]!;
  }
  hostAddressOf(handle: number): number {
    return this.hosts[handle]!;
  }
  /** One past the highest handle ever used. */
  get handleEnd(): number {
    return this.usedHandles;
  }
}
