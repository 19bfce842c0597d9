// Faults at devices: written below the backends of those that they are for, and heard of there. The backend, wherever it
// runs, does the rest.
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  domid as asDomid,
  deviceTypesOf,
  type Fault,
  isOfDevice,
  MAX_OCCURRENCES,
  parseDecimal,
  readKey,
  stateName,
  type XenbusState,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import type { InjectedNode } from '../../backends/fault-nodes.ts';
import { listDevices } from '../add-device.ts';
import type { DeviceSpec } from '../devices.ts';
import { backendPath, namePath, type StoreNode } from '../xenstore-paths.ts';
import type { FaultLog } from './fault-log.ts';
import type { RunningFault } from './running-fault.ts';

export interface PlantingParts {
  readonly xs: XenstoreClient;
  readonly log: FaultLog;
  readonly running: () => readonly RunningFault[];
  /** Every domain but dom0. */
  readonly domids: () => readonly number[];
  /** Resolves when these backends have acted on every change of xenstore up to now. */
  readonly settled: (backends: readonly { readonly backend: string }[]) => Promise<void>;
  /** The process that serves the backend is to be struck. */
  readonly strike: (backendDomid: number, process: NonNullable<InjectedNode['process']>) => Promise<void>;
}

interface Device {
  readonly domid: number;
  /** Of the domain. */
  readonly name: string;
  readonly type: string;
  readonly devid: number;
  readonly backend: string;
  /** Of a disk. */
  readonly vdev: string | undefined;
}

export type WriteNodes = (nodes: readonly StoreNode[]) => Promise<void>;

const TOKEN = 'faults:';
/** What a fault has done is heard of within this time of what came of it. */
const HEARD_MS = 1000;
/** A backend that is about to be killed may take so long to say what it has counted. */
const TOLD_MS = 1000;
/** Of one fault: of guests that it has killed before those nobody asks any more. */
const MAX_GONE = 64;

export class Planting {
  readonly #parts: PlantingParts;
  /** The token of its watches, by backend. */
  readonly #watched = new Map<string, string>();
  #nextToken = 0;
  /** One after the other: what was heard of a device is told in its order. */
  #hearing: Promise<void> = Promise.resolve();
  /** By backend: the fault that has befallen something there last. */
  readonly #last = new Map<string, RunningFault>();
  readonly #heardOf = new EventEmitter().setMaxListeners(0);
  /** Devices that are being made. */
  readonly #making = new Set<Promise<void>>();

  constructor(parts: PlantingParts) {
    this.#parts = parts;
  }

  /** At all devices that there are. */
  async plant(fault: RunningFault): Promise<void> {
    if (!fault.met || !isOfDevice(fault.fault)) return;
    await this.#made();
    for (const domid of this.#parts.domids()) {
      for (const device of await this.#devicesOf(domid)) {
        if (!(await this.#isFor(fault.fault, device))) continue;
        const { path, value } = await this.#node(fault, device);
        await this.#watch(device.backend);
        await this.#write(device.backend, path, value);
      }
    }
    await this.#settled(fault);
  }
  async #settled({ devices }: RunningFault): Promise<void> {
    if (devices.size > 0) await this.#parts.settled([...devices.keys()].map(backend => ({ backend })));
  }
  /** `write` makes these devices, and writes with their nodes those of the faults that are for them. */
  async making(domid: number, specs: readonly DeviceSpec[], write: WriteNodes): Promise<void> {
    const made = this.#nodesFor(domid, specs).then(write);
    const over = made.catch(() => {}); // the caller hears of it
    this.#making.add(over);
    try {
      await made;
    } finally {
      this.#making.delete(over);
    }
  }
  /**
   * The devices that were being made are there, with the nodes of the faults of that time. Those made from now on have
   * what is on now.
   */
  async #made(): Promise<void> {
    await Promise.all(this.#making);
  }
  async #nodesFor(domid: number, specs: readonly DeviceSpec[]): Promise<StoreNode[]> {
    const faults = this.#parts.running().filter(({ met, fault }) => met && isOfDevice(fault));
    if (faults.length === 0) return [];
    const name = await this.#nameOf(domid);
    const nodes: StoreNode[] = [];
    for (const { type, devid, backendDomid, backend: keys } of specs) {
      const backend = backendPath(backendDomid, type, asDomid(domid), devid);
      const device = { ...{ domid, name, type, devid, backend }, vdev: keys.dev };
      const own: StoreNode[] = [];
      // What had this path before is gone, whether that has been heard or not.
      await this.#forget(backend);
      for (const { gone } of faults) gone.delete(backend);
      for (const fault of faults) if (await this.#isFor(fault.fault, device)) own.push(await this.#node(fault, device));
      if (own.length > 0) await this.#watch(backend);
      nodes.push(...own);
    }
    return nodes;
  }
  /** From wherever it is planted. What it has done is told first. */
  async uproot(fault: RunningFault): Promise<void> {
    await this.#made();
    for (const backend of fault.devices.keys()) await this.#again(`${backend}/faults/${fault.name}`);
    await this.#settled(fault);
    await this.heard();
    const backends = [...fault.devices.keys()];
    for (const backend of backends) {
      await this.#hear(backend);
      fault.devices.delete(backend);
      if (this.#last.get(backend) === fault) this.#last.delete(backend);
      for (const under of ['faults', 'injected', 'told', 'struck'])
        await this.#remove(`${backend}/${under}/${fault.name}`);
      if (this.#parts.running().some(({ devices }) => devices.has(backend))) continue;
      await this.#unwatch(backend);
    }
    if (backends.length > 0) await this.#parts.settled(backends.map(backend => ({ backend })));
  }
  /** Written again, a fault has the backend tell what it has not told yet. */
  async #again(path: string): Promise<void> {
    const { xs } = this.#parts;
    await xs.transaction(async tx => {
      const value = await readKey(xs, path, tx);
      if (value !== undefined) await xs.write(path, value, tx);
    });
  }
  /** Nothing below a device that was unplugged meanwhile: it must not come back as this node alone. */
  async #write(backend: string, path: string, value: string): Promise<void> {
    const { xs } = this.#parts;
    await xs.transaction(async tx => {
      // Not its state: that comes last, where a script is to run before.
      if ((await readKey(xs, `${backend}/frontend`, tx)) !== undefined) await xs.write(path, value, tx);
    });
  }
  /** Resolves when all that was known up to now is told. */
  async heard(): Promise<void> {
    await this.#hearing;
  }

  /** The fault that has befallen something there last; one that is planted there may be about to be heard of. */
  async causeAt({
    type,
    domid,
    devid,
  }: {
    type: string;
    domid: number;
    devid: number;
  }): Promise<RunningFault | undefined> {
    const end = `/backend/${type}/${domid}/${devid}`;
    const planted = this.#parts.running().flatMap(({ devices }) => [...devices.keys()]);
    const backend = planted.find(path => path.endsWith(end));
    if (backend === undefined) return undefined;
    if (!this.#last.has(backend))
      await once(this.#heardOf, backend, { signal: AbortSignal.timeout(HEARD_MS) }).catch(() => {}); // of nothing
    const cause = this.#last.get(backend);
    return cause?.devices.has(backend) ? cause : undefined;
  }

  async #devicesOf(domid: number): Promise<Device[]> {
    const { xs } = this.#parts;
    const name = await this.#nameOf(domid);
    const console = { type: 'console', devid: 0, backend: backendPath(0, 'console', domid, 0) };
    const devices = [...(await listDevices(xs, asDomid(domid))), console];
    return Promise.all(
      devices.map(async ({ type, devid, backend }) => ({
        ...{ domid, name, type, devid, backend },
        vdev: await readKey(xs, `${backend}/dev`),
      })),
    );
  }
  async #nameOf(domid: number): Promise<string> {
    return (await readKey(this.#parts.xs, namePath(asDomid(domid)))) ?? '';
  }

  async #isFor(fault: Fault, { domid, name, type, devid, vdev }: Device): Promise<boolean> {
    if (!deviceTypesOf(fault).includes(type)) return false;
    if (fault.domain !== undefined && fault.domain !== domid && fault.domain !== name) return false;
    const { device } = fault;
    if (device === undefined || device === devid) return true;
    return device === (type === 'vif' ? `vif${devid}` : vdev);
  }

  async #node(fault: RunningFault, { backend }: Device): Promise<StoreNode> {
    // By a toolstack before this one.
    const told = parseDecimal(await readKey(this.#parts.xs, `${backend}/told/${fault.name}`)) ?? 0;
    if (!fault.devices.has(backend)) {
      fault.devices.set(backend, told);
      fault.injected += told;
      fault.seen = Math.max(fault.seen, (await this.#injectedAt(backend, fault))?.seen ?? 0);
    }
    const { peer } = fault.fault;
    let { node } = fault;
    // A backend knows domids only.
    if (typeof peer === 'string') {
      const names = await Promise.all(this.#parts.domids().map(async domid => [await this.#nameOf(domid), domid]));
      const found = names.find(([name]) => name === peer)?.[1];
      node = { ...node, fault: { ...node.fault, peer: found ?? NO_DOMAIN } };
    }
    return { path: `${backend}/faults/${fault.name}`, value: JSON.stringify(node) };
  }

  async #watch(backend: string): Promise<void> {
    if (this.#watched.has(backend)) return;
    const token = `${TOKEN}${this.#nextToken++}`;
    this.#watched.set(backend, token);
    await this.#parts.xs.watch(`${backend}/injected`, token, () => {
      this.#hearing = this.#hearing.then(() => this.#hear(backend)).catch(() => {}); // xenstore is gone: so are we
    });
    let last = await this.#stateOf(backend);
    await this.#parts.xs.watch(`${backend}/state`, token, () => {
      const look = async (): Promise<void> => {
        const state = await this.#stateOf(backend);
        if (state === last || this.#watched.get(backend) !== token) return;
        last = state;
        const [type, domid, devid] = backend.split('/').slice(-3);
        const what = state === undefined ? 'gone' : stateName(state);
        const text = `${type} ${devid} of dom${domid}: its backend is ${what}`;
        this.#parts.log.reaction(Number(domid), text, this.#last.get(backend));
        if (state === undefined) await this.#forget(backend);
      };
      this.#hearing = this.#hearing.then(look).catch(() => {}); // as above
    });
  }
  /** The device is gone: a domain that is made anew has another. */
  async #forget(backend: string): Promise<void> {
    for (const { devices, gone, fault } of this.#parts.running()) {
      const n = devices.get(backend);
      devices.delete(backend);
      if (n === undefined || n === 0 || fault.process !== 'guest') continue;
      gone.set(backend, n);
      for (const first of gone.keys()) if (gone.size > MAX_GONE) gone.delete(first);
    }
    this.#last.delete(backend);
    await this.#unwatch(backend);
  }
  async #unwatch(backend: string): Promise<void> {
    const token = this.#watched.get(backend);
    if (token === undefined) return;
    this.#watched.delete(backend);
    for (const key of ['injected', 'state']) await this.#parts.xs.unwatch(`${backend}/${key}`, token).catch(() => {}); // it may be gone with its path
  }
  async #stateOf(backend: string): Promise<XenbusState | undefined> {
    const text = await readKey(this.#parts.xs, `${backend}/state`);
    return text === undefined ? undefined : (Number(text) as XenbusState); // one that is none has a name too
  }
  async #hear(backend: string): Promise<void> {
    const { running } = this.#parts;
    for (const fault of running()) if (fault.devices.has(backend)) await this.#hearOf(fault, backend);
  }
  async #hearOf(fault: RunningFault, backend: string): Promise<void> {
    const { xs, log, strike } = this.#parts;
    const node = await this.#injectedAt(backend, fault);
    if (node === undefined) return;
    const known = fault.devices.get(backend) ?? 0;
    const [, backendDomid, , , domid] = backend.slice('/local/'.length).split('/');
    const count = node.injected - known;
    fault.seen = Math.max(fault.seen, node.seen);
    if (count > 0) {
      fault.devices.set(backend, node.injected);
      fault.injected += count;
      this.#last.set(backend, fault);
      this.#heardOf.emit(backend);
      const occurrences = node.last.slice(-Math.min(count, MAX_OCCURRENCES));
      log.of(fault, 'injected', node.where, { occurrences, count, total: node.injected, domid: Number(domid) });
      await this.#write(backend, `${backend}/told/${fault.name}`, String(node.injected));
    }
    const { process } = node;
    if (process === undefined) return;
    const struck = Number((await readKey(xs, `${backend}/struck/${fault.name}`)) ?? 0);
    if (process.injection <= struck) return;
    const isGuest = fault.fault.process === 'guest';
    if ('kill' in process && !isGuest) await this.tellAll(Number(backendDomid));
    // order: noted, then done: it may be this very process that ends, and the next one must not end for the same.
    await this.#write(backend, `${backend}/struck/${fault.name}`, String(process.injection));
    await strike(Number(isGuest ? domid : backendDomid), process);
  }
  async #injectedAt(backend: string, { name }: RunningFault): Promise<InjectedNode | undefined> {
    const text = await readKey(this.#parts.xs, `${backend}/injected/${name}`);
    return text === undefined ? undefined : injectedNode(text);
  }
  /** The process that serves the devices of a domain is about to end: what it has counted is written down, for the next one. */
  async tellAll(backendDomid: number): Promise<void> {
    const own = `/local/domain/${backendDomid}/backend/`;
    for (const { name, devices } of this.#parts.running())
      for (const backend of devices.keys()) if (backend.startsWith(own)) await this.#again(`${backend}/faults/${name}`);
    const backends = this.#parts.running().flatMap(({ devices }) => [...devices.keys()]);
    const meant = [...new Set(backends)].filter(backend => backend.startsWith(own));
    if (meant.length === 0) return;
    const told = this.#parts.settled(meant.map(backend => ({ backend })));
    told.catch(() => {}); // nobody waits any more
    await Promise.race([told, sleep(TOLD_MS, undefined, { ref: false })]);
  }

  async #remove(path: string): Promise<void> {
    await this.#parts.xs.rm(path).catch(error => {
      if (!(error instanceof XenError && error.code === 'ENOENT')) throw error;
    });
  }
}

/** Nobody has it. */
const NO_DOMAIN = 0x7fef;

/** untrusted: a driver domain writes it. */
function injectedNode(text: string): InjectedNode | undefined {
  try {
    const { seen, injected, last, where, process } = JSON.parse(text) as InjectedNode;
    const isCount = (n: unknown): n is number =>
      Number.isSafeInteger(n) && (n as number) >= 0 && (n as number) < 2 ** 32;
    if (!isCount(seen) || !isCount(injected) || !Array.isArray(last) || !last.every(isCount)) return undefined;
    const known = { seen, injected, last, where: String(where).slice(0, 200) };
    if (process === undefined || !isCount(process.injection)) return known;
    if ('kill' in process) return { ...known, process: { kill: true, injection: process.injection } };
    return isCount(process.stop) ? { ...known, process: { stop: process.stop, injection: process.injection } } : known;
  } catch {
    return undefined;
  }
}
