// A frontend's grants with faults: a backend maps them, and copies from and to them.
import { type Domid, type Fault, type GrantMapping, type GrantTable, XenError } from '#pvbus';
import type { DeviceFaults } from './device-faults.ts';

/** What a backend does with a frontend's grants. */
export interface GrantMaps extends Pick<GrantTable, 'map' | 'unmap'> {
  /** Asked once before each copy from or to a grant: true, and it is not made. */
  refusesCopy?(ref: number): boolean;
}

export class FaultyGrants implements GrantMaps {
  readonly #plain: GrantMaps;
  readonly #faults: DeviceFaults;

  constructor(plain: GrantMaps, faults: DeviceFaults) {
    this.#plain = plain;
    this.#faults = faults;
  }
  map(granter: Domid, refs: ArrayLike<number>, readonly = false): GrantMapping[] {
    const touches = ({ gref }: Fault): boolean => gref === undefined || Array.from(refs).includes(gref);
    const hit = this.#faults.befalls('grant', 'map', touches);
    if (hit === undefined) return this.#plain.map(granter, refs, readonly);
    const { error, name } = hit.fault;
    if (error === undefined) this.#faults.strike(hit);
    else throw new XenError('EINVAL', `injected: map of dom${granter}: GNTST_${error} (fault ${name})`);
    return this.#plain.map(granter, refs, readonly);
  }
  unmap(mappings: readonly GrantMapping[]): void {
    this.#plain.unmap(mappings);
  }
  refusesCopy(ref: number): boolean {
    const hit = this.#faults.befalls('grant', 'copy', ({ gref }) => gref === undefined || gref === ref);
    if (hit === undefined) return false;
    const { error, kill } = hit.fault;
    if (error === undefined) this.#faults.strike(hit);
    return error !== undefined || kill === 'before';
  }
}
