// The columns of xentop: their titles, widths and values, and how rows are sorted by each.

import type { DomainInfo } from '#pvbus';
import { right, tenths } from '../columns.ts';
import type { DomainSample } from './sample.ts';

const KIB = 1024;
/** Xen: SHUTDOWN_crash */
const CRASHED = 3;
/** Xen: a domain without a limit has 2^32 - 1 pages of it. */
const NO_LIMIT_KIB = 0xffff_ffff * 4;

export interface Field {
  readonly title: string;
  readonly width: number;
  /** `total`: the host's memory, KiB. `full`: names are not cut. */
  text(domain: DomainSample, total: number, full: boolean): string;
  /** Rows are in this order; names from a, everything else from the largest. */
  compare(a: DomainSample, b: DomainSample): number;
}

/** strcasecmp in the C locale. */
const folded = (name: string): Buffer => Buffer.from(name.replace(/[A-Z]+/g, letters => letters.toLowerCase()));

type Value = (domain: DomainSample) => number;

const sum = <T>(items: readonly T[], of: (item: T) => number): number => items.reduce((all, one) => all + of(one), 0);
const largestFirst =
  (value: Value): Field['compare'] =>
  (a, b) =>
    value(b) - value(a);
const whole = (title: string, width: number, value: Value): Field => ({
  ...{ title, width, compare: largestFirst(value) },
  text: domain => right(Math.floor(value(domain)), width),
});
const share = (title: string, width: number, kib: Value): Field => ({
  ...{ title, width, compare: largestFirst(kib) },
  text: (domain, total) => (unlimited(kib(domain)) ? right('n/a', width) : tenths((kib(domain) * 100) / total, width)),
});
const unlimited = (kib: number): boolean => kib >= NO_LIMIT_KIB;
const memory: Value = ({ info }) => info.current_kb;
const limit: Value = ({ info }) => info.max_kb;

const states = ({ dying, shutdown, shutdown_reason: reason, blocked, paused, running }: DomainInfo): boolean[] => [
  ...[dying, shutdown && reason !== CRASHED, blocked, shutdown && reason === CRASHED, paused, running],
];
const stateText = ({ info }: DomainSample): string =>
  states(info)
    .map((is, i) => (is ? 'dsbcpr'[i]! : '-'))
    .join('');
const stateRank: Value = ({ info }) => states(info).reduce((bits, is) => bits * 2 + Number(is), 0);

export const FIELDS: readonly Field[] = [
  {
    ...{ title: 'NAME', width: 10, compare: (a, b) => Buffer.compare(folded(a.name), folded(b.name)) },
    text: ({ name }, _total, full) => right(full ? name : Buffer.from(name).subarray(0, 10).toString(), 10),
  },
  { title: 'STATE', width: 6, text: stateText, compare: largestFirst(stateRank) },
  whole('CPU(sec)', 10, ({ info }) => info.cpu_time / 1e9),
  {
    ...{ title: 'CPU(%)', width: 6, compare: largestFirst(({ cpuPercent }) => cpuPercent) },
    text: ({ cpuPercent }) => tenths(cpuPercent, 6),
  },
  whole('MEM(k)', 10, memory),
  share('MEM(%)', 6, memory),
  {
    ...{ title: 'MAXMEM(k)', width: 10, compare: largestFirst(limit) },
    text: domain => right(unlimited(limit(domain)) ? 'no limit' : limit(domain), 10),
  },
  share('MAXMEM(%)', 9, limit),
  whole('VCPUS', 5, ({ info }) => info.vcpu_online),
  whole('NETS', 4, ({ vifs }) => vifs.length),
  whole('NETTX(k)', 8, ({ vifs }) => sum(vifs, vif => vif.tx_bytes) / KIB),
  whole('NETRX(k)', 8, ({ vifs }) => sum(vifs, vif => vif.rx_bytes) / KIB),
  whole('VBDS', 4, ({ vbds }) => vbds.length),
  whole('VBD_OO', 8, ({ vbds }) => sum(vbds, vbd => vbd.oo_req)),
  whole('VBD_RD', 8, ({ vbds }) => sum(vbds, vbd => vbd.rd_req)),
  whole('VBD_WR', 8, ({ vbds }) => sum(vbds, vbd => vbd.wr_req)),
  whole('VBD_RSECT', 10, ({ vbds }) => sum(vbds, vbd => vbd.rd_sect)),
  whole('VBD_WSECT', 10, ({ vbds }) => sum(vbds, vbd => vbd.wr_sect)),
  whole('SSID', 4, () => 0),
];
