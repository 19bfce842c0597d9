// A net backend without a driver, beside a guest in one thread.
import { NetGuest, NetRig } from './net-rig.ts';
import { RawNetback } from './raw-netback.ts';

export const GOOD_FEATURES = {
  'feature-sg': 1,
  'feature-rx-copy': 1,
  'feature-ctrl-ring': 1,
} as const;

export class HostileNetback extends RawNetback {
  readonly rig: NetRig;
  readonly guest: NetGuest;

  constructor(rig: NetRig, guest: NetGuest) {
    super({
      ...{ vcpu: rig.vcpu, xs: rig.toolstack.xs, frontendDomid: guest.vcpu.domid, nodes: guest.nodes },
      until: condition => rig.until(condition),
    });
    this.rig = rig;
    this.guest = guest;
  }
  /** A guest whose device has nobody behind it yet. Its netfront has been started. */
  static async plug(
    features: Readonly<Record<string, string | number>> = GOOD_FEATURES,
    keys: Readonly<Record<string, string | number>> = {},
    { maxQueues = 1 }: { readonly maxQueues?: number } = {},
  ): Promise<HostileNetback> {
    const rig = new NetRig();
    const core = rig.core.guest({ pages: 512 + 512 * maxQueues });
    const guest = new NetGuest(rig, core, await rig.plug(core, keys), maxQueues);
    rig.guests.push(guest);
    const back = new HostileNetback(rig, guest);
    void guest.netfront.start();
    await back.offer(features);
    return back;
  }
  static async connect(
    features: Readonly<Record<string, string | number>> = GOOD_FEATURES,
    keys: Readonly<Record<string, string | number>> = {},
  ): Promise<HostileNetback> {
    const back = await HostileNetback.plug(features, keys);
    await back.attach();
    return back;
  }

  override async attach(): Promise<void> {
    await super.attach();
    await this.rig.until(() => this.guest.vif.txBuffer() !== undefined);
  }
  /** Let the guest look. */
  go(): void {
    this.rig.settle(this.guest);
  }
}
