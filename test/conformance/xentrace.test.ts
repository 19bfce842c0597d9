// Debian's xentrace, untouched, over the hypervisor's own trace buffers: it finds them by t_info, takes what is in them
// while they are written, and makes the file that ours is.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PAGE_SIZE, TRC_PV_HYPERCALL_V2, TRC_SCHED_SWITCH, TRC_TRACE_CPU_CHANGE, t_buf } from '#pvbus';
import { CpuRing } from '../../dom0/toolstack/trace-rings.ts';
import { TraceBuffers } from '../../hypervisor/trace-buffers.ts';
import { compile, whyNoCompiler } from '../../tools/layouts/ask-gcc.ts';
import { cpuRecords, type TraceRecord } from '../../tools/trace/records.ts';
import { XenFormat } from '../../tools/trace/xen-format.ts';
import { StoppedClock } from '../support/core-rig.ts';
import { preloaded } from '../support/preloaded.ts';
import { eventually } from '../support/processes.ts';
import { skipped } from './daemons.ts';

const XENTRACE = '/usr/lib/xen-4.17/bin/xentrace';
const SOURCE = fileURLToPath(new URL('fake-trace-pages.c', import.meta.url));
const CPUS = 3;
const PAGES = 2;
const RING = PAGES * PAGE_SIZE - t_buf.size;

const reason = !existsSync(XENTRACE)
  ? `no ${XENTRACE} (Debian: xen-utils-4.17)`
  : !existsSync('/usr/include/xenctrl.h')
    ? 'no /usr/include/xenctrl.h (Debian: libxen-dev)'
    : whyNoCompiler();

let folder: string;
let clock: StoppedClock;
let buffers: TraceBuffers;
/** The same records again, for our own reader. */
let twin: TraceBuffers;

function makeBuffers(): TraceBuffers {
  const fail = (): void => {
    throw new Error('the reader’s index cannot be');
  };
  const made = new TraceBuffers(CPUS, clock, () => {}, fail);
  expect(made.setSize(PAGES)).toBe(0);
  expect(made.enable()).toBe(0);
  return made;
}
/** The first frame of a pCPU's ring. */
const frameOf = (cpu: number): number => buffers.info.mfn + buffers.info.bytes / PAGE_SIZE + cpu * PAGES;
const ringOf = (of: TraceBuffers, cpu: number): Uint8Array =>
  of.arena!.bytes.subarray(frameOf(cpu) * PAGE_SIZE, (frameOf(cpu) + PAGES) * PAGE_SIZE);
function write(cpu: number, event: number, extra: number, ...words: number[]): void {
  clock.advance(1000);
  const [a, b, c, d, e, f, g] = words;
  for (const one of [buffers, twin]) one.write(cpu, event, extra, a, b, c, d, e, f, g);
}
const readAll = (cpu: number): boolean => {
  const view = buffers.arena!.view;
  const at = frameOf(cpu) * PAGE_SIZE;
  return view.getUint32(at + t_buf.at.cons, true) === view.getUint32(at + t_buf.at.prod, true);
};
const cpus = Array.from({ length: CPUS }, (_, cpu) => cpu);

/** Run xentrace until `meanwhile` is over and it has read everything; its file. */
async function xentrace(meanwhile: (read: () => Promise<void>) => Promise<void>): Promise<Buffer> {
  const library = join(folder, 'fake-trace-pages.so');
  compile(SOURCE, library, '-shared', '-fPIC');
  const file = join(folder, 'xentrace.bin');
  const env = {
    ...preloaded(library),
    FAKE_TRACE_PAGES: `/proc/${process.pid}/fd/${buffers.arena!.fd}`,
    FAKE_TRACE_CPUS: `${CPUS}`,
    FAKE_TRACE_INFO: `${buffers.info.mfn}`,
    FAKE_TRACE_INFO_BYTES: `${buffers.info.bytes}`,
  };
  const child = spawn(XENTRACE, ['-s', '5', file], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (said += chunk));
  const ended = once(child, 'exit');
  const read = () => eventually('xentrace has read everything', () => child.exitCode !== null || cpus.every(readAll));
  try {
    await meanwhile(async () => void (await read()));
    await read();
    child.kill('SIGINT');
    const [code] = await ended;
    expect({ code, said }).toEqual({ code: 0, said: '' });
    return readFileSync(file);
  } finally {
    child.kill('SIGKILL');
  }
}
function ours(rings: readonly CpuRing[]): TraceRecord[] {
  const records = rings.flatMap((ring, cpu) => cpuRecords(cpu, ring.take()));
  return records.sort((a, b) => a.at - b.at);
}
/** The records of each pCPU in a file of Xen's format. */
function perCpu(file: Buffer): Uint8Array[] {
  const parts: Buffer[][] = cpus.map(() => []);
  for (let at = 0; at < file.length; ) {
    expect(file.readUInt32LE(at) & 0x0fffffff).toBe(TRC_TRACE_CPU_CHANGE);
    const [cpu, bytes] = [file.readUInt32LE(at + 4), file.readUInt32LE(at + 8)];
    at += 12;
    parts[cpu]!.push(file.subarray(at, at + bytes));
    at += bytes;
  }
  return parts.map(part => Buffer.concat(part));
}

describe.skipIf(reason !== undefined)(`xentrace${skipped(reason)}`, () => {
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'xentrace-test-'));
    clock = new StoppedClock();
    buffers = makeBuffers();
    twin = makeBuffers();
  });
  afterEach(() => {
    for (const one of [buffers, twin]) one.arena!.release();
    rmSync(folder, { recursive: true });
  });

  it('makes of these pages the file that ours is, byte for byte', async () => {
    const rings = cpus.map(cpu => new CpuRing(ringOf(twin, cpu)));
    for (let i = 0; i < 90; i++) write(i % CPUS, TRC_SCHED_SWITCH, 4, i, 0, 0x7fff, i % CPUS);
    write(2, TRC_PV_HYPERCALL_V2, 3, (1 << 20) | 17, 6, 5 << 16);
    const format = new XenFormat();
    const expected = Buffer.concat([format.begin(), format.write(ours(rings)), format.end()]);
    const file = await xentrace(async () => {});
    expect(file.length).toBeGreaterThan(91 * 12);
    expect(file.equals(expected)).toBe(true);
  });
  it('loses nothing while these are written many times over, records of all lengths over their end', async () => {
    const rings = cpus.map(cpu => new CpuRing(ringOf(twin, cpu)));
    const expected: TraceRecord[] = [];
    const file = await xentrace(async read => {
      let next = 0;
      for (let round = 0; round < 40; round++) {
        for (let bytes = 0; bytes < (RING * CPUS) / 3; next++) {
          const extra = (next * 5) % 8;
          write(next % CPUS, TRC_SCHED_SWITCH, extra, next, next, next, next, next, next, next);
          bytes += 12 + 4 * extra;
        }
        expected.push(...ours(rings));
        await read();
      }
    });
    const got = perCpu(file).flatMap((bytes, cpu) => cpuRecords(cpu, bytes));
    expect(got.sort((a, b) => a.at - b.at)).toEqual(expected);
  });
});
