// The table of xentop as lines: a header, and for each domain its row and what was asked for beside it.

import { right } from '../columns.ts';
import { FIELDS } from './fields.ts';
import type { DomainSample, Sample } from './sample.ts';

export interface TableOptions {
  readonly networks: boolean;
  readonly vbds: boolean;
  readonly vcpus: boolean;
  readonly repeatHeader: boolean;
  readonly fullName: boolean;
  /** Of FIELDS. */
  readonly sortBy: number;
}

export const header = (): string => FIELDS.map(({ title, width }) => right(title, width)).join(' ');

/** The table, from the domain in row `first` on. */
export function tableLines(sample: Sample, options: TableOptions, first = 0): string[] {
  const { sortBy, repeatHeader } = options;
  const { compare } = FIELDS[sortBy]!;
  const domains = [...sample.domains].sort((a, b) => compare(a, b) || a.info.domid - b.info.domid).slice(first);
  const lines = repeatHeader ? [] : [header()];
  for (const domain of domains) {
    if (repeatHeader) lines.push(header());
    lines.push(row(domain, sample.host.total_memory * 1024, options.fullName));
    if (options.vcpus) lines.push(...vcpuLines(domain));
    if (options.networks) lines.push(...networkLines(domain));
    if (options.vbds) lines.push(...vbdLines(domain));
  }
  return lines;
}

const row = (domain: DomainSample, totalKib: number, full: boolean): string =>
  FIELDS.map(field => field.text(domain, totalKib, full)).join(' ');

/** Xen: five vCPUs a line, counted with those that are offline and not shown. */
function vcpuLines({ vcpus }: DomainSample): string[] {
  let text = 'VCPUs(sec): ';
  for (const [i, { online, cpu_time }] of vcpus.entries()) {
    if (!online) continue;
    if (i !== 0 && i % 5 === 0) text += '\n        ';
    text += ` ${right(i, 2)}: ${right(Math.floor(cpu_time / 1e9), 10)}s`;
  }
  return text.split('\n');
}

function networkLines({ vifs }: DomainSample): string[] {
  return vifs.map((vif, i) => {
    const half = (way: 'rx' | 'tx'): string =>
      `${right(vif[`${way}_bytes`], 8)}bytes ${right(vif[`${way}_packets`], 8)}pkts ` +
      `${right(vif[`${way}_errors`], 8)}err ${right(vif[`${way}_dropped`], 8)}drop`;
    return `Net${i} RX: ${half('rx')}  TX: ${half('tx')}`;
  });
}

function vbdLines({ vbds }: DomainSample): string[] {
  return vbds.map(({ devid, oo_req, rd_req, wr_req, rd_sect, wr_sect }) => {
    const hex = (byte: number): string => right((byte & 0xff).toString(16), 2);
    const device = `${right(devid, 4)} [${hex(devid >> 8)}:${hex(devid)}] `;
    const requests = `OO: ${right(oo_req, 8)}   RD: ${right(rd_req, 8)}   WR: ${right(wr_req, 8)}`;
    return `VBD BlkBack ${device} ${requests}   RSECT: ${right(rd_sect, 10)}   WSECT: ${right(wr_sect, 10)}`;
  });
}
