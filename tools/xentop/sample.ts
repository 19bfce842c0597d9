// What xentop knows of the host at one moment.

import type { DeviceCounters, DomainInfo, HostInfo, VcpuRecord } from '#pvbus';
import type { ToolstackClient } from '../toolstack-client.ts';

export interface DomainSample {
  readonly info: DomainInfo;
  /** A domain that is dying has none: then its row is not shown. */
  readonly name: string;
  readonly vcpus: readonly VcpuRecord[];
  readonly vifs: DeviceCounters['vifs'];
  readonly vbds: DeviceCounters['vbds'];
  /** Of one CPU, since the sample before; 0 in the first. */
  readonly cpuPercent: number;
}

export interface Sample {
  /** ms */
  readonly at: number;
  readonly host: HostInfo;
  readonly domains: readonly DomainSample[];
}

/** `now`: the monotonic clock, ms. */
export async function takeSample(
  client: ToolstackClient,
  now: () => number,
  before: Sample | undefined,
): Promise<Sample> {
  const [host, domains, vcpus, counters] = await Promise.all([
    client.call('info', {}),
    client.call('list', { domid: null }),
    client.call('vcpus', { domid: null }),
    client.call('counters', {}),
  ]);
  const at = now();
  const samples = domains.flatMap((info): DomainSample[] => {
    const { domid, name } = info;
    if (name === null) return [];
    const devices = counters.find(one => one.domid === domid);
    const earlier = before?.domains.find(one => one.info.domid === domid);
    return [
      {
        info,
        name,
        vcpus: vcpus.find(one => one.domid === domid)?.vcpus ?? [],
        vifs: devices?.vifs ?? [],
        vbds: devices?.vbds ?? [],
        cpuPercent: earlier === undefined ? 0 : percent(info.cpu_time - earlier.info.cpu_time, at - before!.at),
      },
    ];
  });
  return { at, host, domains: samples };
}

const percent = (cpuNs: number, ms: number): number => (ms > 0 ? cpuNs / 1e4 / ms : 0);
