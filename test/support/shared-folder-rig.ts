// A folder of this machine's, a backend that shares it and a guest's client, in one thread.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { domid, type Vcpu, XenError } from '#pvbus';
import { P9Connection } from '../../dom0/backends/p9/connection.ts';
import { P9Client } from '../../domu-kernel/drivers/p9front/client.ts';
import { P9FileSystem } from '../../domu-kernel/fs/p9-file-system.ts';
import { CoreRig } from './core-rig.ts';

const ORDER = 4;
/** Turns without an answer that are the backend's silence. */
const PATIENCE = 100;

export class SharedFolderRig {
  readonly folder: string;
  /** Protocol errors that either end found. */
  readonly broken: XenError[] = [];
  readonly guest: Vcpu;
  readonly dom0: Vcpu;
  readonly client: P9Client;
  connection: P9Connection | undefined;
  /** What the backend makes of the connections that come. */
  readOnly = false;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'xenolith-shared-'));
    const core = new CoreRig();
    const guest = core.guest({ pages: 1024 });
    this.guest = guest.kernel();
    this.dom0 = core.dom0.kernel(4);
    const blocking = { waitUntil: (condition: () => boolean) => this.#turnUntil(condition) };
    this.client = new P9Client('9pfs 0', blocking, error => this.broken.push(error));
    this.connect();
  }
  connect(): void {
    const { ref, port } = this.client.makeRing(this.guest, domid(0), ORDER);
    this.connection = new P9Connection({
      vcpu: this.dom0,
      frontend: domid(this.guest.domid),
      label: '9pfs 0',
      path: this.folder,
      readOnly: this.readOnly,
      rings: [{ ref, evtchn: port }],
      onFatal: error => this.broken.push(error),
    });
    this.client.connected();
  }
  /** As a backend's process that dies. */
  disconnect(): void {
    this.client.disconnect();
    this.connection?.close();
    this.connection = undefined;
  }
  mount(): P9FileSystem {
    return new P9FileSystem(this.client, 'shared');
  }
  #turnUntil(condition: () => boolean): void {
    for (let silent = 0; !condition(); silent++) {
      if (silent === PATIENCE) throw new Error('nobody answers');
      this.turn();
    }
  }
  turn(): void {
    this.dom0.events.poll();
    this.connection?.step();
    this.guest.events.poll();
  }
  end(): void {
    this.client.end(new XenError('ENODEV', 'the end'));
    this.connection?.close();
    rmSync(this.folder, { recursive: true });
  }
}
