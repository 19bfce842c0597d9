// The innocent's kernel: the real drivers under a checked workload. What it writes to its disk, sends from one of its
// interfaces to the other and keeps in xenstore carries a number, and is looked at when it comes back.
import { attachVcpu, type ControlMessage, crashExit, monotonicNow } from '#pvbus';
import { drive } from '../../../domu-kernel/drive.ts';
import { Blkfront } from '../../../domu-kernel/drivers/blkfront/device.ts';
import { Netfront } from '../../../domu-kernel/drivers/netfront/device.ts';
import { compileFatFs } from '../../../domu-kernel/fs/fat-core.ts';
import { ffWasm } from '../../../domu-kernel/fs/ff-wasm.ts';
import { Kernel } from '../../../domu-kernel/kernel.ts';

const BLOCK = 4096;
const BLOCKS = 64;
const FRAME = 600;
/** Between two rounds of one kind: the machine is to have time for the others as well. */
const PAUSE_MS = 3;
/** The next frame is sent, whether this one came or not. */
const AGAIN_MS = 2000;
const SAMPLES = 1 << 16;

export function start({ controlFd, boot }: { controlFd: number; boot: ControlMessage }): void {
  const vcpu = attachVcpu(controlFd, boot);
  process.on('uncaughtException', error => crashExit(vcpu, error));
  process.on('unhandledRejection', error => crashExit(vcpu, error));
  const kernel = new Kernel({ vcpu, fatFs: () => compileFatFs(ffWasm) });
  const { xs, log, console, home } = kernel;
  const blkfront = new Blkfront({ xs, log, vcpu, blocking: kernel });
  const netfront = new Netfront({ xs, log, vcpu });
  const pause = (ms: number): Promise<void> => new Promise(resolve => void kernel.timers.after(ms, resolve));

  const done = { disk: 0, net: 0, store: 0 };
  const wrong: string[] = [];
  let lost = 0;
  /** Of one write, flush and read, ns. */
  let latencies = new Float64Array(SAMPLES);
  let sampled = 0;

  /** Numbers and a sum over them: neither another round's bytes nor another domain's are taken for these. */
  const fill = (bytes: Uint8Array, n: number): void => {
    let sum = n;
    for (let i = 8; i < bytes.length; i++) {
      bytes[i] = (n * 31 + i * 7) & 255;
      sum = (sum * 33 + bytes[i]!) | 0;
    }
    new DataView(bytes.buffer, bytes.byteOffset).setInt32(0, n);
    new DataView(bytes.buffer, bytes.byteOffset).setInt32(4, sum);
  };
  const same = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);

  const disk = async (): Promise<void> => {
    const { submitWrite, submitFlush, submitRead } = bound(blkfront.disks()[0]!);
    const [out, back] = [new Uint8Array(BLOCK), new Uint8Array(BLOCK)];
    for (let n = 1; ; n++) {
      fill(out, n);
      const sector = (n % BLOCKS) * (BLOCK / 512);
      const from = monotonicNow();
      await submitWrite(sector, out);
      await submitFlush();
      await submitRead(sector, back);
      if (sampled < SAMPLES) latencies[sampled++] = monotonicNow() - from;
      if (!same(out, back)) wrong.push(`block ${sector} is not what write ${n} put there`);
      done.disk++;
      await pause(PAUSE_MS);
    }
  };
  const net = async (): Promise<void> => {
    const [near, far] = netfront.interfaces();
    const frame = new Uint8Array(FRAME);
    const body = frame.subarray(14);
    const expected = new Uint8Array(body.length);
    /** Of the last one that has come. */
    let arrived = 0;
    let wake = (): void => {};
    far!.onFrame((bytes, offset, length) => {
      if (bytes[offset + 12] !== 0x88 || bytes[offset + 13] !== 0xb6) return;
      const from = bytes.subarray(offset + 6, offset + 12);
      if (!same(from, near!.mac)) return;
      const n = new DataView(bytes.buffer, bytes.byteOffset + offset + 14).getInt32(0);
      fill(expected, n);
      if (length !== FRAME || n <= arrived || !same(expected, bytes.subarray(offset + 14, offset + length)))
        wrong.push(`a frame is none that was sent, or came twice: after ${arrived} came ${n}`);
      // Frames of one sender keep their order: what did not come before this one does not come any more.
      lost += n - arrived - 1;
      arrived = n;
      wake();
    });
    frame.set(far!.mac);
    frame.set(near!.mac, 6);
    frame.set([0x88, 0xb6], 12);
    for (let n = 1; ; n++) {
      fill(body, n);
      near!.send(frame, FRAME);
      await Promise.race([
        new Promise<void>(resolve => {
          wake = resolve;
        }),
        pause(AGAIN_MS),
      ]);
      if (arrived === n) done.net++;
      await pause(PAUSE_MS);
    }
  };
  const store = async (): Promise<void> => {
    for (let n = 1; ; n++) {
      const value = `${n} ${'x'.repeat(n % 100)}`;
      await xs.write(`${home}/data/checked`, value);
      if ((await xs.read(`${home}/data/checked`)) !== value) wrong.push(`xenstore lost write ${n}`);
      done.store++;
      await pause(PAUSE_MS);
    }
  };

  const serve = async (): Promise<void> => {
    await Promise.all([blkfront.start(), netfront.start()]);
    const failed =
      (what: string) =>
      (error: unknown): void =>
        void wrong.push(`${what}: ${error instanceof Error ? error.message : error}`);
    disk().catch(failed('disk'));
    net().catch(failed('net'));
    store().catch(failed('xenstore'));
    console.write(`${JSON.stringify({ domid: vcpu.domid })}\n`);
    for (;;) {
      const line = (await console.readLine()) ?? '';
      const sorted = latencies.slice(0, sampled).sort();
      const at = (share: number): number => (sorted[Math.floor(sorted.length * share)] ?? 0) / 1000;
      const figures = { ...done, lost, wrong, p50us: at(0.5), p99us: at(0.99), samples: sampled };
      if (line.trim() === 'afresh') {
        latencies = new Float64Array(SAMPLES);
        sampled = 0;
      }
      console.write(`${JSON.stringify(figures)}\n`);
    }
  };
  serve().catch(error => crashExit(vcpu, error));
  drive(
    {
      step: () => {
        let progress = kernel.step() === 'progress';
        if (blkfront.step() === 'progress') progress = true;
        if (netfront.step() === 'progress') progress = true;
        return progress ? 'progress' : 'idle';
      },
      block: () => kernel.block(),
    },
    error => crashExit(vcpu, error),
  );
}

function bound(disk: ReturnType<Blkfront['disks']>[number]) {
  return {
    submitWrite: disk.submitWrite.bind(disk),
    submitFlush: disk.submitFlush.bind(disk),
    submitRead: disk.submitRead.bind(disk),
  };
}
