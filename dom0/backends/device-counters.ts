// What the backends' threads have counted of each device, for xentop. A device that is not connected shows zeros.
import type { DeviceCounters, VbdCounters, VifCounters } from '#pvbus';
import type { Backend, BackendDevice } from './backend-device.ts';
import type { BackendThread } from './backend-thread.ts';
import { newVbdStats, type VbdStats } from './blkback/stats.ts';
import type { NetbackReport } from './netback/messages.ts';
import { VifStats } from './netback/stats.ts';

interface Sources {
  /** Threads that serve vbds. */
  readonly blkbacks: () => readonly Pick<BackendThread, 'call'>[];
  readonly netback: Pick<BackendThread, 'call'>;
  readonly vbds: Pick<Backend, 'devices'>;
  readonly vifs: Pick<Backend, 'devices'>;
}

/** By domain, in order of domid; the devices of one in order of their number. */
export function deviceCounters({ blkbacks, netback, vbds, vifs }: Sources): () => Promise<DeviceCounters[]> {
  return async () => {
    // All answers are our own threads'.
    const answers = await Promise.all(blkbacks().map(thread => thread.call({ op: 'stats' })));
    const disks: Readonly<Record<string, VbdStats>> = Object.assign({}, ...answers);
    const report = (await netback.call({ op: 'report' })) as NetbackReport;
    const domains = new Map<number, { vifs: VifCounters[]; vbds: VbdCounters[] }>();
    const of = ({ frontendDomid }: BackendDevice): { vifs: VifCounters[]; vbds: VbdCounters[] } => {
      const found = domains.get(frontendDomid) ?? { vifs: [], vbds: [] };
      domains.set(frontendDomid, found);
      return found;
    };
    for (const device of inOrder(vbds)) of(device).vbds.push(ofVbd(device.devid, disks[device.path] ?? newVbdStats()));
    for (const device of inOrder(vifs)) {
      const { frontendDomid, devid } = device;
      const vif = report.vifs.find(({ domid, handle }) => domid === frontendDomid && handle === devid);
      of(device).vifs.push(ofVif(devid, vif?.stats ?? new VifStats()));
    }
    return [...domains].sort(([a], [b]) => a - b).map(([domid, counters]) => ({ domid, ...counters }));
  };
}

const inOrder = (backend: Pick<Backend, 'devices'>): BackendDevice[] =>
  backend.devices().sort((a, b) => a.devid - b.devid);

const ofVbd = (devid: number, { oo_req, rd_req, wr_req, rd_sect, wr_sect }: VbdStats): VbdCounters => ({
  ...{ devid, oo_req, rd_req, wr_req, rd_sect, wr_sect },
});

/** The backend receives what the guest transmits. */
const ofVif = (devid: number, stats: VifStats): VifCounters => ({
  ...{ devid, rx_bytes: stats.txBytes, rx_packets: stats.txFrames, rx_errors: stats.txErrors, rx_dropped: 0 },
  ...{ tx_bytes: stats.rxBytes, tx_packets: stats.rxFrames, tx_errors: stats.rxErrors },
  tx_dropped: stats.rxDropped + stats.rxTooBig,
});
