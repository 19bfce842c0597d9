// The toolstack's part: builds a guest for every slot through hypercalls and xenstore, buries those that have
// died, and builds others in their place. What it does can be done again when xenstored dies in the middle of it.
import {
  domid,
  GNTTAB_RESERVED_XENSTORE,
  gfn,
  port,
  XEN_DOMCTL_destroydomain,
  XenbusState,
  XenError,
  XenstoreClient,
} from '#pvbus';
import type { Guest } from '../support/core-rig.ts';
import { macText } from './packet-ledger.ts';
import type { Part } from './part.ts';
import { COUNTER, GUEST_PAGES, SimGuest, STORE_GFN, TWICE } from './sim-guest.ts';
import type { SimHost } from './sim-host.ts';
import type { StoreSocket } from './sim-xenstored.ts';
import { Violation } from './violation.ts';

const VDEV = 51712;
/** Steps that others have before a guest that misbehaved is destroyed. */
const MERCY_STEPS = 300;

interface Waiter {
  readonly what: string;
  readonly condition: () => boolean;
  readonly resolve: () => void;
}

export class SimToolstack implements Part {
  readonly name = 'toolstack';
  /** The guest of each slot, while there is one. */
  readonly guests: (SimGuest | undefined)[];
  /** No more guests: those that there are, are destroyed. */
  closing = false;
  /** Slots whose guest is to go. */
  readonly #doomed = new Set<number>();
  readonly #host: SimHost;
  #waiters: Waiter[] = [];
  #socket: StoreSocket | undefined;
  #xs: XenstoreClient | undefined;
  #busy = 0;

  constructor(host: SimHost, slots: number) {
    this.#host = host;
    this.guests = new Array<SimGuest | undefined>(slots).fill(undefined);
    void this.#tell(async xs => {
      const { frame, port: storePort } = host.dom0.store;
      await xs.introduce(domid(0), gfn(frame), storePort);
      for (const path of [TWICE, COUNTER]) {
        await xs.write(path, '0');
        await xs.setPerms(path, ['b0']);
      }
      for (const path of ['/local/domain/0/backend/vbd', '/local/domain/0/backend/vif']) await xs.mkdir(path);
    });
  }
  /** Have a guest in every slot from now on. */
  open(): void {
    this.closing = false;
    for (let slot = 0; slot < this.guests.length; slot++) void this.#live(slot);
  }
  /** Nothing of it is under way. */
  get idle(): boolean {
    return this.#busy === 0;
  }
  /** What it waits for. */
  get waiting(): string {
    return this.#waiters.map(({ what }) => what).join(', ');
  }
  doom(slot: number): void {
    this.#doomed.add(slot);
  }

  // ---- as a part ----

  ready(): boolean {
    return (this.#socket?.toClient.length ?? 0) > 0 || this.#waiters.some(({ condition }) => condition());
  }
  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }
  step(): boolean {
    this.#host.promised = true;
    if (this.#socket?.hear()) return true;
    const i = this.#waiters.findIndex(({ condition }) => condition());
    if (i < 0) return false;
    this.#waiters.splice(i, 1)[0]!.resolve();
    return true;
  }
  #until(what: string, condition: () => boolean): Promise<void> {
    return new Promise(resolve => this.#waiters.push({ what, condition, resolve }));
  }

  /** Ask xenstored; again when it dies meanwhile. */
  async #tell<T>(work: (xs: XenstoreClient) => Promise<T>): Promise<T> {
    const { xenstored } = this.#host;
    for (;;) {
      while (!this.#xs || this.#socket?.closed) {
        if (!xenstored.process.alive) {
          await this.#until('xenstored', () => xenstored.process.alive);
          continue; // another slot may have connected
        }
        this.#socket = xenstored.connect();
        this.#xs = new XenstoreClient(this.#socket, this.#host.logOf('toolstack'));
      }
      try {
        return await work(this.#xs);
      } catch (error) {
        if (!(error instanceof XenError) || error.code !== 'ECONNRESET') throw error;
      }
    }
  }

  // ---- the life of a slot ----

  async #live(slot: number): Promise<void> {
    this.#busy++;
    try {
      while (!this.closing) {
        const guest = await this.#create(slot);
        this.guests[slot] = guest;
        this.#busy--;
        const { step } = this.#host;
        let since = step;
        await this.#until(`the end of dom${guest.domid}`, () => {
          if (!guest.hostile) since = this.#host.step;
          const punished = guest.hostile && this.#host.step - since > MERCY_STEPS;
          return this.closing || !guest.process.alive || this.#doomed.has(slot) || punished;
        });
        this.#busy++;
        this.#doomed.delete(slot);
        if (guest.hostile) this.#host.judgeHostile(guest);
        guest.kill();
        this.guests[slot] = undefined;
        await this.#destroy(slot, guest);
      }
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#host.fail(new Violation('toolstack', `slot ${slot}: ${what}`));
    }
    this.#busy--;
  }

  async #create(slot: number): Promise<SimGuest> {
    const host = this.#host;
    const { core } = host;
    const { dom0 } = core;
    const guest = core.guest({ pages: GUEST_PAGES });
    host.createdDomain(guest);
    const { domid: id } = guest;
    must(dom0.poolPopulate(0, STORE_GFN, 1, 0, id));
    const storePort = must(dom0.reset().allocUnbound(0, id));
    guest.grant(GNTTAB_RESERVED_XENSTORE, 0, STORE_GFN);
    await this.#tell(xs => this.#writeNodes(xs, slot, guest));
    await this.#tell(xs => xs.introduce(domid(id), gfn(STORE_GFN), port(storePort)));
    host.saw('guest made');
    host.log('toolstack', `dom${id} is guest ${slot}`);
    return new SimGuest(host, slot, guest, port(storePort));
  }

  #writeNodes(xs: XenstoreClient, slot: number, { domid: id }: Guest): Promise<void> {
    const home = `/local/domain/${id}`;
    return xs.transaction(async tx => {
      const write = (path: string, value: string | number): Promise<void> => xs.write(path, String(value), tx);
      // The commit may have been done, though nobody was told: what the backend has written since is not to be undone.
      if (await xs.exists(`${home}/name`, tx)) return;
      await xs.mkdir(home, tx);
      await xs.setPerms(home, ['n0', `r${id}`], tx);
      await xs.mkdir(`${home}/data`, tx);
      await xs.setPerms(`${home}/data`, [`n${id}`], tx);
      await write(`${home}/name`, `guest${slot}`);
      const device = async (type: string, devid: number, back: Keys, front: Keys): Promise<void> => {
        const { backend, frontend } = nodesOf(id, type, devid);
        await xs.mkdir(frontend, tx);
        await xs.setPerms(frontend, [`n${id}`, 'r0'], tx);
        await xs.mkdir(backend, tx);
        await xs.setPerms(backend, ['n0', `r${id}`], tx);
        const state = XenbusState.Initialising;
        const ends: [string, Keys][] = [
          [frontend, { backend, 'backend-id': 0, state, ...front }],
          [backend, { frontend, 'frontend-id': id, online: 1, state, ...back }],
        ];
        for (const [path, keys] of ends)
          for (const [key, value] of Object.entries(keys)) await write(`${path}/${key}`, value);
      };
      await device('vbd', VDEV, { params: `/disk/${slot}`, mode: 'w' }, {});
      const mac = macText(slot);
      await device('vif', 0, { mac, bridge: 'xenbr0', handle: 0 }, { mac, handle: 0, mtu: 1500, trusted: 1 });
    });
  }

  async #destroy(slot: number, { domid: id }: SimGuest): Promise<void> {
    const { core, dom0 } = this.#host;
    core.dom0.reset().domctl(XEN_DOMCTL_destroydomain, id);
    this.#host.xen.poke();
    await this.#tell(xs =>
      xs.transaction(async tx => {
        for (const { backend } of devicesOf(id)) {
          await xs.write(`${backend}/online`, '0', tx);
          await xs.write(`${backend}/state`, String(XenbusState.Closing), tx);
        }
      }),
    );
    // order: as libxl does: the nodes go when the backends are done with them.
    await this.#until(`dom0 to leave dom${id}`, () => dom0.hasLeft(id));
    await this.#tell(xs =>
      xs.transaction(async tx => {
        for (const { backend } of devicesOf(id)) await removed(xs, parentOf(backend), tx);
        await removed(xs, `/local/domain/${id}`, tx);
      }),
    );
    await this.#until(`dom0 to forget dom${id}`, () => dom0.hasForgotten(id));
    await this.#until(`dom${id} to be gone`, () => core.hypervisor.domains.byId(id) === undefined);
    this.#host.saw('guest buried');
    this.#host.log('toolstack', `dom${id}, guest ${slot}, is buried`);
  }
}

type Keys = Readonly<Record<string, string | number>>;

const nodesOf = (id: number, type: string, devid: number): { readonly backend: string; readonly frontend: string } => ({
  backend: `/local/domain/0/backend/${type}/${id}/${devid}`,
  frontend: `/local/domain/${id}/device/${type}/${devid}`,
});
const devicesOf = (id: number) => [nodesOf(id, 'vbd', VDEV), nodesOf(id, 'vif', 0)];
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));

async function removed(xs: XenstoreClient, path: string, tx: number): Promise<void> {
  try {
    await xs.rm(path, tx);
  } catch (error) {
    if (!(error instanceof XenError && error.code === 'ENOENT')) throw error;
  }
}
function must(rc: number): number {
  if (rc < 0) throw new Error(`the toolstack's hypercall failed: ${rc}`);
  return rc;
}
