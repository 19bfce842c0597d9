// A pvcalls backend without sockets: it sees what a frontend asks, and answers what a test says.
import {
  BackRing,
  type Domid,
  type GrantMapping,
  PVCALLS_ACCEPT,
  PVCALLS_CONNECT,
  port,
  type Vcpu,
  XenPvcallsAccept,
  XenPvcallsConnect,
  XenPvcallsRequest,
  xen_pvcalls_request,
  xen_pvcalls_response,
  xen_pvcalls_sring_entry,
} from '#pvbus';

export interface SeenCommand {
  readonly req_id: number;
  readonly cmd: number;
  readonly id_lo: number;
  readonly id_hi: number;
  /** Of a connect or an accept: the page of its indices, and its event channel. */
  readonly ref: number;
  readonly evtchn: number;
}

export class RawPvcallsBack {
  readonly vcpu: Vcpu;
  readonly ring: BackRing;
  readonly page: GrantMapping['page'];
  private readonly evtchn: ReturnType<Vcpu['events']['bindInterdomain']>;

  constructor(vcpu: Vcpu, frontend: Domid, ref: number, evtchn: number) {
    this.vcpu = vcpu;
    this.page = vcpu.grants.map(frontend, [ref])[0]!.page;
    this.ring = new BackRing(this.page, xen_pvcalls_sring_entry.size);
    this.evtchn = vcpu.events.bindInterdomain(frontend, port(evtchn));
    vcpu.events.on(this.evtchn, () => {});
  }
  take(): SeenCommand[] {
    const seen: SeenCommand[] = [];
    for (; this.ring.unconsumedRequests() > 0; this.ring.req_cons = (this.ring.req_cons + 1) >>> 0) {
      const at = this.ring.requestOffset();
      const request = new XenPvcallsRequest(this.page.view, at);
      const u = at + xen_pvcalls_request.at.u;
      const connect = new XenPvcallsConnect(this.page.view, u);
      const accept = new XenPvcallsAccept(this.page.view, u);
      const stream = request.cmd === PVCALLS_CONNECT ? connect : request.cmd === PVCALLS_ACCEPT ? accept : undefined;
      const { ref, evtchn } = stream ?? { ref: 0, evtchn: 0 };
      seen.push({ req_id: request.req_id, cmd: request.cmd, id_lo: connect.id_lo, id_hi: connect.id_hi, ref, evtchn });
    }
    this.ring.finalCheckForRequests();
    return seen;
  }
  answer(seen: SeenCommand, ret = 0): void {
    const at = this.ring.responseOffset();
    const { view } = this.page;
    view.setUint32(at, seen.req_id, true);
    view.setUint32(at + 4, seen.cmd, true);
    view.setInt32(at + 8, ret, true);
    view.setUint32(at + xen_pvcalls_response.at.u, seen.id_lo, true);
    view.setUint32(at + xen_pvcalls_response.at.u + 4, seen.id_hi, true);
    this.ring.rsp_prod_pvt = (this.ring.rsp_prod_pvt + 1) >>> 0;
    this.ring.pushResponses();
    this.notify();
  }
  notify(): void {
    this.vcpu.events.notify(this.evtchn);
  }
}
