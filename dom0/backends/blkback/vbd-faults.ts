// The faults that are planted at the vbds of one thread, and the parts that take the place of the plain ones meanwhile.
import type { Planted } from '#pvbus';
import { DeviceFaults } from '../../faults/device-faults.ts';
import { FaultyGrants } from '../../faults/faulty-grants.ts';
import { FaultyNotifier } from '../../faults/faulty-notifier.ts';
import { LateWork } from '../../faults/late-work.ts';
import type { BackendContext } from '../backend-thread.ts';
import type { DiskImage, FileCalls, LaterImage } from './disk-image.ts';
import { FaultyDisk } from './faulty-disk.ts';
import { FaultyLaterDisk } from './faulty-later-disk.ts';
import { type VbdParts, vbdParts } from './vbd.ts';
import type { BlkbackEvent } from './worker.ts';

export class VbdFaults {
  /** What is done later: by these faults, and by who else asks. */
  readonly late = new LateWork();
  readonly #context: BackendContext;
  readonly #faults = new Map<string, DeviceFaults>();
  /** Of vbds that are connected. */
  readonly #disks = new Map<string, FaultyDisk | FaultyLaterDisk>();
  readonly #notifiers = new Map<string, FaultyNotifier>();

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** True when something was due. */
  step(): boolean {
    return this.late.length > 0 && this.late.step(this.#context.clock.now());
  }
  /** When there is something to do for `step` or `flush`. */
  get deadline(): number | undefined {
    let first = this.late.deadline;
    if (this.#faults.size > 0)
      for (const { deadline } of this.#faults.values())
        if (deadline !== undefined && (first === undefined || deadline < first)) first = deadline;
    return first;
  }
  /** Tell what has happened since the last time. */
  flush(): void {
    if (this.#faults.size > 0) for (const faults of this.#faults.values()) faults.flush();
  }

  /** What the vbd of `key` works with from now on; `by`: the same image by other system calls. */
  partsOf(key: string, image: DiskImage | LaterImage, by?: (calls: FileCalls) => DiskImage): VbdParts {
    const { vcpu, clock } = this.#context;
    this.#end(key);
    const plain = vbdParts(vcpu, image);
    const faults = this.#faults.get(key);
    if (faults === undefined) return plain;
    const { late } = this;
    const notifier = new FaultyNotifier(plain.notifier, { faults, late, clock });
    const other = { grants: new FaultyGrants(plain.grants, faults), notifier };
    this.#notifiers.set(key, notifier);
    const onEvent: VbdParts['onEvent'] = (heard, port, remote) => notifier.hears(heard, port, remote);
    if ('submit' in image) {
      const disk = new FaultyLaterDisk(image, { faults, late, clock });
      this.#disks.set(key, disk);
      return { ...plain, ...other, image: disk, onEvent };
    }
    const disk = new FaultyDisk({ plain: image, faults, clock, by: by ?? (() => image) });
    this.#disks.set(key, disk);
    return { ...other, image: disk, newRequest: limits => disk.newRequest(limits), onEvent };
  }

  /** These befall the device of `key`, and none of others. False when its parts are to be others now. */
  plant(key: string, label: string, planted: readonly Planted[]): boolean {
    const known = this.#faults.get(key);
    if (known !== undefined && planted.length > 0) {
      known.plant(planted);
      this.#notifiers.get(key)?.letGo();
      this.#disks.get(key)?.reconsider();
      return true;
    }
    known?.plant([]);
    this.#faults.delete(key);
    this.#end(key);
    if (planted.length > 0) {
      const { clock, tell } = this.#context;
      const faults = new DeviceFaults(label, clock, injected =>
        tell({ op: 'injected', key, injected } satisfies BlkbackEvent),
      );
      faults.plant(planted);
      this.#faults.set(key, faults);
    }
    return false;
  }

  /** The vbd of `key` has other parts: what these held back is done. */
  #end(key: string): void {
    this.#disks.get(key)?.end();
    this.#disks.delete(key);
    this.#notifiers.get(key)?.letGo();
    this.#notifiers.delete(key);
  }
  /** There is no vbd of `key` any more. */
  gone(key: string): void {
    this.#disks.get(key)?.gone();
    this.#disks.delete(key);
    this.#notifiers.delete(key);
  }
}
