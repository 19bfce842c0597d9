// Two byte streams with a frontend: pages and event channel as it granted them, of a socket of pvcalls or a ring of 9pfs.
import {
  type Domid,
  dataRing,
  type EvtchnPort,
  type FlexRingReader,
  type FlexRingWriter,
  type GrantMapping,
  PAGE_SIZE,
  port,
  pvcalls_data_intf,
  type Vcpu,
  XenError,
} from '#pvbus';

import { type DeviceEvents, plainEvents } from '../faults/faulty-notifier.ts';

/** What we publish as max-dataring-page-order: 16 pages, 32 KiB each way. */
export const MAX_DATARING_ORDER = 4;

export class MappedDataRing {
  /** What the guest sends. */
  readonly reader: FlexRingReader;
  /** What the guest receives. */
  readonly writer: FlexRingWriter;
  private readonly vcpu: Vcpu;
  private readonly mappings: GrantMapping[];
  private readonly port: EvtchnPort;
  /** The frontend's number of it. */
  private readonly remote: number;
  private readonly onEvent: () => void;
  private events: DeviceEvents;
  private open = true;

  /** Throws a XenError when a gref or the port is not what it should be; nothing stays mapped then. */
  constructor(vcpu: Vcpu, frontend: Domid, ref: number, evtchn: number, onEvent: () => void) {
    this.vcpu = vcpu;
    this.remote = evtchn;
    this.onEvent = onEvent;
    this.events = plainEvents(vcpu.events);
    this.mappings = vcpu.grants.map(frontend, [ref]);
    try {
      const intf = this.mappings[0]!.page;
      const order = intf.view.getUint32(pvcalls_data_intf.at.ring_order, true); // untrusted: read once
      if (order > MAX_DATARING_ORDER) throw new XenError('EINVAL', `dom${frontend}: a data ring of order ${order}`);
      // untrusted: each gref is read once; a bad one fails the map.
      const refs = Array.from({ length: 1 << order }, (_, i) =>
        intf.view.getUint32(pvcalls_data_intf.size + 4 * i, true),
      );
      this.mappings.push(...vcpu.grants.map(frontend, refs));
      this.port = vcpu.events.bindInterdomain(frontend, port(evtchn));
      const pages = this.mappings.slice(1).map(m => m.pool.subarray(m.offset, m.offset + PAGE_SIZE));
      const { reader, writer } = dataRing(intf, pages, 'back');
      this.reader = reader;
      this.writer = writer;
      vcpu.events.on(this.port, onEvent);
    } catch (error) {
      vcpu.grants.unmap(this.mappings);
      throw error;
    }
  }
  /** These are its channel from now on. What those before them have kept back may be there. */
  use(events: DeviceEvents): void {
    if (!this.open) return;
    this.events = events;
    this.vcpu.events.on(this.port, events.hears(this.onEvent, this.port, this.remote));
    this.onEvent();
  }
  notify(): void {
    if (this.open) this.events.notify(this.port);
  }
  /** Nothing of the frontend is mapped or bound afterwards. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.vcpu.events.close(this.port);
    this.vcpu.grants.unmap(this.mappings);
  }
}
