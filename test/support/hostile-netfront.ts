// A hostile net frontend beside a netback in the same thread.
import { type Vcpu, XenNetifCtrlRequest, XenNetifCtrlResponse, xen_netif_ctrl_request } from '#pvbus';
import type { NetbackMessage, QueueConnection, VifConnection } from '../../dom0/backends/netback/messages.ts';
import type { Guest } from './core-rig.ts';
import type { NetRig } from './net-rig.ts';
import { CONTROL, RawNetfront, type RawTxResponse, RX, TX } from './raw-netfront.ts';

export { DATA_PAGES, type RawTx } from './raw-netfront.ts';

export class HostileNetfront extends RawNetfront {
  readonly rig: NetRig;
  readonly guest: Guest;

  /** `from`: the rings' first index. */
  constructor(rig: NetRig, guest: Guest = rig.core.guest({ pages: 256 }), from = 0, vcpu: Vcpu = guest.kernel(0)) {
    const mac = Uint8Array.from(rig.mac(guest.domid).split(':'), octet => Number.parseInt(octet, 16));
    super(vcpu, rig.vcpu.domid, mac, from);
    this.rig = rig;
    this.guest = guest;
  }

  /** More rings of the same guest. */
  another(): HostileNetfront {
    return new HostileNetfront(this.rig, this.guest, 0, this.vcpu);
  }
  get name(): string {
    return `vif${this.guest.domid}.0`;
  }
  /** Its rings, as one of a vif's queues. */
  get queue(): QueueConnection {
    return { txRingRef: this.refs[TX]!, rxRingRef: this.refs[RX]!, txPort: this.port, rxPort: this.port };
  }
  connection(changes: Partial<VifConnection> = {}): VifConnection {
    return {
      domid: this.guest.domid,
      handle: 0,
      bridge: 'xenbr0',
      mac: this.rig.mac(this.guest.domid),
      mtu: 1500,
      queues: [this.queue],
      control: undefined,
      scatterGather: true,
      checksumOffload: true,
      ipv6ChecksumOffload: false,
      gsoTcpv4: false,
      gsoTcpv6: false,
      multicastControl: false,
      ...changes,
    };
  }
  /** Past xenstore, straight to the worker. */
  connect(changes: Partial<VifConnection> = {}): this {
    this.rig.worker.handle({ op: 'connect', vif: this.connection(changes) } satisfies NetbackMessage);
    return this;
  }
  /** With a control ring, which has a port of its own. */
  connectWithControl(changes: Partial<VifConnection> = {}): this {
    const port = this.vcpu.events.allocUnbound(this.rig.vcpu.domid);
    return this.connect({ control: { ringRef: this.refs[CONTROL]!, port }, ...changes });
  }
  disconnect(): void {
    this.rig.worker.handle({ op: 'disconnect', domid: this.guest.domid, handle: 0 } satisfies NetbackMessage);
  }

  /** Publish, let the backend run, and take its responses. */
  transmit(): RawTxResponse[] {
    this.publishTx();
    this.rig.settle(this.rig);
    return this.txResponses();
  }
  /** One request, and the answer to it. */
  ask(type: number, ...data: number[]): { status: number; data: number } {
    const { view } = this.pages.page(CONTROL);
    const request = new XenNetifCtrlRequest(view, this.control.requestOffset());
    request.id = 99;
    request.type = type;
    for (let i = 0; i < 3; i++)
      view.setUint32(request.base + xen_netif_ctrl_request.at.data + 4 * i, data[i] ?? 0, true);
    this.control.req_prod_pvt = (this.control.req_prod_pvt + 1) >>> 0;
    this.control.pushRequests();
    this.vcpu.events.notify(this.port);
    this.rig.settle(this.rig);
    if (this.control.unconsumedResponses() !== 1) throw new Error('no answer on the control ring');
    const response = new XenNetifCtrlResponse(view, this.control.responseOffset());
    if (response.id !== 99 || response.type !== type) throw new Error('the answer to another question');
    this.control.rsp_cons = (this.control.rsp_cons + 1) >>> 0;
    return { status: response.status, data: response.data };
  }
}
