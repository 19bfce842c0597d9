// The toolstack's part of a device's life, in xenstore: make both ends, take them away.
import { domid, XenbusState, XenstoreClient } from '#pvbus';
import { unplug } from '../../dom0/toolstack/add-device.ts';
import { type ListLog, rigTransport, type XenstoreRig } from './xenstore-rig.ts';

export interface DeviceNodes {
  readonly backend: string;
  readonly frontend: string;
}

export class PaperToolstack {
  readonly xs: XenstoreClient;
  readonly rig: XenstoreRig;

  constructor(rig: XenstoreRig) {
    this.rig = rig;
    this.xs = this.client();
  }
  client(log?: ListLog): XenstoreClient {
    return new XenstoreClient(
      rigTransport(this.rig, () => this.rig.run()),
      log,
    );
  }

  /** Both directories in one transaction, as libxl writes them. */
  async plug(
    type: string,
    frontendDomid: number,
    devid: number,
    keys: Readonly<Record<string, string | number>> = {},
    backendDomid = 0,
  ): Promise<DeviceNodes> {
    const backend = `/local/domain/${backendDomid}/backend/${type}/${frontendDomid}/${devid}`;
    const frontend = `/local/domain/${frontendDomid}/device/${type}/${devid}`;
    await this.xs.transaction(async tx => {
      const write = (path: string, value: string | number) => this.xs.write(path, String(value), tx);
      await this.xs.rm(frontend, tx).catch(() => {}); // its parent may not be there yet
      await this.xs.mkdir(frontend, tx);
      await this.xs.setPerms(frontend, [`n${frontendDomid}`, `r${backendDomid}`], tx);
      await this.xs.mkdir(backend, tx);
      await this.xs.setPerms(backend, [`n${backendDomid}`, `r${frontendDomid}`], tx);
      await write(`${frontend}/backend`, backend);
      await write(`${frontend}/backend-id`, backendDomid);
      await write(`${frontend}/state`, XenbusState.Initialising);
      await write(`${backend}/frontend`, frontend);
      await write(`${backend}/frontend-id`, frontendDomid);
      await write(`${backend}/online`, 1);
      await write(`${backend}/state`, XenbusState.Initialising);
      for (const [key, value] of Object.entries(keys)) await write(`${backend}/${key}`, value);
    });
    return { backend, frontend };
  }

  /** What `xl block-detach` begins with; both ends are then to close. */
  askToClose(nodes: DeviceNodes): Promise<void> {
    return unplug(this.xs, nodes);
  }

  async remove(nodes: DeviceNodes): Promise<void> {
    await this.xs.transaction(async tx => {
      await this.xs.rm(nodes.frontend, tx);
      await this.xs.rm(nodes.backend, tx);
    });
  }

  state(path: string): Promise<string> {
    return this.xs.read(`${path}/state`);
  }

  /** The domain is gone: xenstored has heard of it. */
  destroy(id: number): void {
    this.rig.door.destroy(domid(id));
    this.rig.run();
  }
}

/** Let everything that is on its way arrive: `quiet` turns of the event loop in a row without a change. */
export async function settle(condition: () => boolean | Promise<boolean>, turns = 2000): Promise<void> {
  for (let i = 0; i < turns; i++) {
    if (await condition()) return;
    await new Promise(resolve => setImmediate(resolve));
  }
  throw new Error('what the test waits for has not happened');
}
