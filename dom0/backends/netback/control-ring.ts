// The control ring of one vif: which pages stay mapped. Xen: io/netif.h, "Control ring" and "Control messages".
import {
  type BackRing,
  type Cursor,
  type Domid,
  PAGE_SIZE,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
  XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED,
  XEN_NETIF_CTRL_STATUS_SUCCESS,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  XEN_NETIF_CTRLF_GREF_readonly,
  XenError,
  XenNetifCtrlRequest,
  XenNetifCtrlResponse,
  XenNetifGref,
  xen_netif_ctrl_request,
  type xen_netif_ctrl_response,
  xen_netif_gref,
} from '#pvbus';
import type { Copies } from './copies.ts';
import { type GrefEntry, MAX_STATIC_GRANTS, type StaticGrants } from './static-grants.ts';

const LIST_ENTRIES = PAGE_SIZE / xen_netif_gref.size;
/** Requests per turn: each may be a few hundred mappings. */
const TURN_REQUESTS = 4;

export class ControlRing {
  private readonly ring: BackRing;
  private readonly domid: Domid;
  /** Of each queue. */
  private readonly grants: readonly StaticGrants[];
  private readonly copies: Copies;
  /** untrusted: the request, copied once. */
  private readonly slot = new Int32Array(xen_netif_ctrl_request.size / 4);
  private readonly slotView = new DataView(this.slot.buffer);
  private readonly request = new XenNetifCtrlRequest(this.slotView);
  private readonly response: Cursor<typeof xen_netif_ctrl_response.fields>;

  constructor(ring: BackRing, view: DataView, domid: Domid, grants: readonly StaticGrants[], copies: Copies) {
    this.ring = ring;
    this.domid = domid;
    this.grants = grants;
    this.copies = copies;
    this.response = new XenNetifCtrlResponse(view);
  }

  /** Answer a few requests. -1: the ring's indices are impossible; 0: there was nothing; 1: answers are staged. */
  turn(): -1 | 0 | 1 {
    const { ring } = this;
    const there = ring.finalCheckForRequests();
    if (there <= 0) return there < 0 ? -1 : 0;
    for (let i = 0; i < Math.min(there, TURN_REQUESTS); i++) {
      ring.copyRequest(this.slot);
      ring.req_cons = (ring.req_cons + 1) >>> 0;
      this.answer();
    }
    return 1;
  }

  private answer(): void {
    const { type } = this.request;
    if (type === XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE) {
      if (this.argument(0) < this.grants.length) this.respond(XEN_NETIF_CTRL_STATUS_SUCCESS, MAX_STATIC_GRANTS);
      else this.respond(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    } else if (type === XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING) this.respond(this.add());
    else if (type === XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING) this.remove(this.readList());
    // Hashing among them: which queue a frame is for is our own choice.
    else this.respond(XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED);
  }

  private add(): number {
    const list = this.readList();
    if (list === undefined) return XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
    try {
      this.queue.add(list);
    } catch (error) {
      // The frontend's grefs are at fault, not we: the answer says so.
      if (error instanceof XenError) return XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
      throw error;
    }
    return XEN_NETIF_CTRL_STATUS_SUCCESS;
  }

  private remove(list: GrefEntry[] | undefined): void {
    if (list === undefined) {
      this.respond(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
      return;
    }
    const removed = this.queue.remove(list.map(entry => entry.ref));
    const bytes = new Uint8Array(list.length * xen_netif_gref.size);
    const entry = new XenNetifGref(new DataView(bytes.buffer));
    for (const { ref, readonly } of list) {
      entry.ref = ref;
      entry.flags = readonly ? XEN_NETIF_CTRLF_GREF_readonly : 0;
      entry.status = removed.has(ref) ? XEN_NETIF_CTRL_STATUS_SUCCESS : XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
      entry.base += xen_netif_gref.size;
    }
    const ref = this.argument(1);
    const told = !this.queue.refusesCopy(ref) && this.copies.writePage(this.domid, ref, bytes);
    const status = told ? XEN_NETIF_CTRL_STATUS_SUCCESS : XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
    this.respond(status, removed.size);
  }

  /** The list a request points at; undefined when it is not there or has an impossible size. */
  private readList(): GrefEntry[] | undefined {
    const count = this.argument(2);
    if (this.argument(0) >= this.grants.length || count < 1 || count > LIST_ENTRIES) return undefined;
    const ref = this.argument(1);
    if (this.queue.refusesCopy(ref)) return undefined;
    const bytes = this.copies.readPage(this.domid, ref, count * xen_netif_gref.size);
    if (bytes === undefined) return undefined;
    const entry = new XenNetifGref(new DataView(bytes.buffer));
    return Array.from({ length: count }, (_, i) => {
      entry.base = i * xen_netif_gref.size;
      return { ref: entry.ref, readonly: (entry.flags & XEN_NETIF_CTRLF_GREF_readonly) !== 0 };
    });
  }

  /** Of the queue a request names, once that is known to be one. */
  private get queue(): StaticGrants {
    return this.grants[this.argument(0)]!;
  }
  private argument(i: number): number {
    return this.slotView.getUint32(xen_netif_ctrl_request.at.data + 4 * i, true);
  }

  private respond(status: number, data = 0): void {
    const { ring, request, response } = this;
    const { id, type } = request;
    response.base = ring.responseOffset();
    response.id = id;
    response.type = type;
    response.status = status;
    response.data = data;
    ring.rsp_prod_pvt = (ring.rsp_prod_pvt + 1) >>> 0;
  }
}
