// A guest with the driver of one kind of device, and a backend that is nothing but keys in xenstore: the core, xenstored and its
// ring are real. Nothing moves but in `step`.
import { domid, RingTransport, type Vcpu, XenbusState, XenstoreClient } from '#pvbus';
import { Blkfront } from '../../../domu-kernel/drivers/blkfront/device.ts';
import { Frontend, type FrontendDevice, findDevices } from '../../../domu-kernel/drivers/frontend-device.ts';
import { Netfront } from '../../../domu-kernel/drivers/netfront/device.ts';
import { P9Device } from '../../../domu-kernel/drivers/p9front/device.ts';
import { PvcallsDevice } from '../../../domu-kernel/drivers/pvcallsfront/device.ts';
import { CoreRig, type Guest } from '../../support/core-rig.ts';
import { PromptStore } from '../../support/waiting-guest.ts';
import { ListLog, XenstoreRig } from '../../support/xenstore-rig.ts';

export type Kind = 'vbd' | 'vif' | 'pvcalls' | '9pfs';

/** Steps that are more than anything takes. */
const MANY = 5000;
const SECOND_NS = 1e9;

export class KeyedGuest {
  readonly kind: Kind;
  readonly frontend: Frontend;
  readonly guest: Guest;
  readonly store: PromptStore;
  readonly log = new ListLog();
  readonly path: string;
  readonly backend: string;
  cases = 0;
  readonly #core = new CoreRig();
  readonly #xenstore = new XenstoreRig();
  readonly #vcpu: Vcpu;
  readonly #transport: RingTransport;
  readonly #stepDriver: () => void;
  #disks: Blkfront | undefined;

  private constructor(kind: Kind) {
    this.kind = kind;
    this.guest = this.#core.guest({ pages: 2048 });
    const { domid: id } = this.guest;
    const { page } = this.#xenstore.domain(id);
    this.store = new PromptStore(this.#xenstore);
    this.store.mkdir(`/local/domain/${id}`, id, 0);
    this.#vcpu = this.guest.kernel();
    this.#transport = new RingTransport(page, () => this.#xenstore.door.fromDomain(id));
    const devid = kind === 'vbd' ? 51712 : 0;
    this.path = `/local/domain/${id}/device/${kind}/${devid}`;
    this.backend = `/local/domain/0/backend/${kind}/${id}/${devid}`;
    const xs = new XenstoreClient(this.#transport, this.log);
    const [vcpu, { log }, { clock }] = [this.#vcpu, this, this.#core];
    const blocking = { waitUntil: (condition: () => boolean) => this.until(condition) };
    if (kind === 'vbd') {
      const front = new Blkfront({ xs, vcpu, log, clock, blocking });
      this.#disks = front;
      this.frontend = front.frontend;
      this.#stepDriver = () => void front.step();
    } else if (kind === 'vif') {
      const front = new Netfront({ xs, vcpu, log, clock });
      this.frontend = front.frontend;
      this.#stepDriver = () => void front.step();
    } else {
      const create = (device: FrontendDevice) =>
        kind === '9pfs' ? new P9Device(device, vcpu, blocking) : new PvcallsDevice(device, vcpu, log);
      this.frontend = new Frontend({ xs, log, clock, type: kind, domid: domid(id), create });
      this.#stepDriver = () => void this.frontend.takeMoved();
    }
    this.#found = findDevices(xs, domid(id), [this.frontend]);
  }
  readonly #found: Promise<void>;
  /** It has looked for devices, and hears of those that come. */
  static async of(kind: Kind): Promise<KeyedGuest> {
    const made = new KeyedGuest(kind);
    let found = false;
    void made.#found.then(() => {
      found = true;
    });
    while (!found) {
      made.step();
      await new Promise(resolve => setImmediate(resolve));
    }
    return made;
  }

  /** What the toolstack writes. */
  plug(): void {
    const { store, path, backend } = this;
    store.mkdir(path, this.guest.domid, 0);
    store.mkdir(backend, 0, this.guest.domid);
    store.write(`${backend}/state`, XenbusState.Initialising);
    store.write(`${backend}/online`, 1);
    if (this.kind === 'vif') store.write(`${path}/mac`, '00:16:3e:00:00:01');
    store.write(`${path}/backend-id`, 0);
    store.write(`${path}/backend`, backend);
    store.write(`${path}/state`, XenbusState.Initialising);
  }
  unplug(): void {
    this.store.remove(this.path);
    this.store.remove(this.backend);
  }
  /** Sectors of its disks. */
  sectors(): number[] {
    return this.#disks?.disks().map(({ sectors }) => sectors) ?? [];
  }
  step(): boolean {
    const heard = this.#vcpu.events.poll();
    const moved = this.#transport.step() === 'progress';
    this.#stepDriver();
    this.#xenstore.run();
    return heard || moved;
  }
  /** Time passes where nothing else does. */
  turn(): void {
    if (this.step() || this.frontend.deadline() === undefined) return;
    this.#core.clock.ns += SECOND_NS;
    this.frontend.tick(this.#core.clock.now());
  }
  until(condition: () => boolean): void {
    for (let i = 0; !condition(); i++) {
      if (i > MANY) throw new Error('it does not come to an end');
      this.turn();
    }
  }
  /** What must be again as it was when a device has gone. */
  held(): Readonly<Record<string, number>> {
    const { ports, grants } = this.guest.domain;
    const [connection] = this.#xenstore.server.clientsOf(this.guest.domid);
    return {
      ports: ports.open,
      frames: this.#vcpu.frames.available,
      pinned: grants.pinned,
      watches: this.#xenstore.server.watches.count(connection!),
    };
  }
}
