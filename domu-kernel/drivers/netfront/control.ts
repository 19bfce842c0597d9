// Asks the backend to keep our pages mapped, over the control ring. Xen: io/netif.h, "Static Grants". A backend that
// refuses copies each page by its gref instead: slower, nothing else.
import {
  FrontRing,
  PAGE_SIZE,
  XEN_NETIF_CTRL_STATUS_SUCCESS,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  XenNetifCtrlRequest,
  XenNetifCtrlResponse,
  XenNetifGref,
  xen_netif_ctrl_request,
  xen_netif_ctrl_sring_entry,
  xen_netif_gref,
} from '#pvbus';
import { type NetBuffers, RX_SLOTS, TX_SLOTS } from './buffers.ts';

const LIST_ENTRIES = PAGE_SIZE / xen_netif_gref.size;

export class ControlRing {
  /** Pages the backend has said it keeps mapped. */
  mapped = 0;
  private readonly ring: FrontRing;
  /** Of each queue; the first has the ring's page. */
  private readonly queues: readonly NetBuffers[];
  /** Whose turn it is. */
  private queue = 0;
  private readonly notify: () => void;
  private readonly view: DataView;
  /** untrusted: the response, copied once. */
  private readonly slot = new Int32Array(xen_netif_ctrl_sring_entry.size / 4);
  private readonly response = new XenNetifCtrlResponse(new DataView(this.slot.buffer));
  private nextId = 1;
  /** The type of the one request that is out; 0 when there is none. */
  private asked = 0;
  private listed = 0;

  constructor(queues: readonly NetBuffers[], notify: () => void) {
    const { controlRing } = queues[0]!;
    this.queues = queues;
    this.notify = notify;
    this.view = controlRing.view;
    this.ring = FrontRing.init(controlRing, xen_netif_ctrl_sring_entry.size);
  }

  start(): void {
    this.send(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE, 0, 0);
  }

  /** Take the answer if it is there. A string: how the backend broke the protocol. */
  step(): string | undefined {
    if (this.asked === 0) return undefined;
    const n = this.ring.finalCheckForResponses();
    if (n === 0) return undefined;
    if (n < 0) return 'more control responses than were asked for';
    this.ring.copyResponse(this.slot);
    this.ring.rsp_cons = (this.ring.rsp_cons + 1) >>> 0;
    const { id, type, status, data } = this.response;
    if (id !== this.nextId || type !== this.asked) return `a control response ${id} of type ${type} to nothing`;
    this.nextId = (id + 1) & 0xffff;
    this.asked = 0;
    if (status !== XEN_NETIF_CTRL_STATUS_SUCCESS) return undefined;
    if (type === XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE) this.addMappings(data);
    else {
      this.mapped += this.listed;
      if (++this.queue < this.queues.length) this.start();
    }
    return undefined;
  }

  /** As many pages as the backend takes and one list holds, first those used most. */
  private addMappings(most: number): void {
    const buffers = this.queues[this.queue]!;
    const entry = new XenNetifGref(buffers.list.view);
    const count = Math.min(most, LIST_ENTRIES, TX_SLOTS + RX_SLOTS);
    if (count === 0) return;
    for (let i = 0; i < count; i++) {
      entry.base = i * xen_netif_gref.size;
      entry.ref = i % 2 === 0 ? buffers.rxRef(i >> 1) : buffers.txRef(i >> 1);
      entry.flags = 0;
      entry.status = 0;
    }
    this.listed = count;
    this.send(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, buffers.listRef, count);
  }

  private send(type: number, data1: number, data2: number): void {
    const request = new XenNetifCtrlRequest(this.view, this.ring.requestOffset());
    const data = request.base + xen_netif_ctrl_request.at.data;
    request.id = this.nextId;
    request.type = type;
    this.view.setUint32(data, this.queue, true);
    this.view.setUint32(data + 4, data1, true);
    this.view.setUint32(data + 8, data2, true);
    this.asked = type;
    this.ring.req_prod_pvt = (this.ring.req_prod_pvt + 1) >>> 0;
    if (this.ring.pushRequests()) this.notify();
  }
}
