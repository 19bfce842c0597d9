// The real kernel's drivers under measurement: a disk at its ring, an interface at its frames.
import { attachVcpu, BLKIF_OP_READ, BLKIF_OP_WRITE, crashExit, monotonicNow } from '#pvbus';
import { Blkfront } from '../../../domu-kernel/drivers/blkfront/device.ts';
import type { Disk } from '../../../domu-kernel/drivers/blkfront/disk.ts';
import { Netfront } from '../../../domu-kernel/drivers/netfront/device.ts';
import { compileFatFs } from '../../../domu-kernel/fs/fat-core.ts';
import { ffWasm } from '../../../domu-kernel/fs/ff-wasm.ts';
import { Kernel } from '../../../domu-kernel/kernel.ts';
import type { Boot } from './lib.ts';

const SECTORS_PER_PAGE = 8;
const CHUNK = 128 << 10;
const FRAME = 1514;

export function start({ controlFd, boot }: Boot): void {
  const vcpu = attachVcpu(controlFd, boot);
  process.on('uncaughtException', error => crashExit(vcpu, error));
  process.on('unhandledRejection', error => crashExit(vcpu, error));
  const kernel = new Kernel({ vcpu, fatFs: () => compileFatFs(ffWasm) });
  const { xs, log, console } = kernel;
  const blkfront = new Blkfront({ xs, log, vcpu, blocking: kernel });
  const netfront = new Netfront({ xs, log, vcpu });
  let received = 0;
  let checksum = 0;

  const step = (): boolean => {
    let progress = kernel.step() === 'progress';
    if (blkfront.step() === 'progress') progress = true;
    if (netfront.step() === 'progress') progress = true;
    return progress;
  };
  const commands: Record<string, (...words: number[]) => Record<string, number> | Promise<Record<string, number>>> = {
    /** `count` reads of 4 KiB at scattered places of the disk's first `mib`, `depth` at a time; `writes` of ten are writes. */
    read: (depth = 1, count = 0, mib = 0, writes = 0) => {
      const { worker } = blkfront.disks()[0] as Disk;
      const blocks = (mib << 20) / 4096;
      const from = performance.now();
      let asked = 0;
      for (let done = 0; done < count; ) {
        let pushed = false;
        for (; asked - done < depth && asked < count; asked++) {
          const slot = worker.acquire(4096);
          const operation = asked % 10 < writes ? BLKIF_OP_WRITE : BLKIF_OP_READ;
          worker.queue(slot, operation, ((asked * 7919) % blocks) * SECTORS_PER_PAGE, 4096);
          pushed = true;
        }
        if (pushed) worker.push();
        if (worker.step() === 'idle' && !vcpu.events.poll()) vcpu.block();
        for (let slot = worker.reap(); slot >= 0; slot = worker.reap()) {
          if (worker.status(slot) !== 0) throw new Error(`read: ${worker.status(slot)}`);
          worker.release(slot);
          done++;
        }
      }
      return { perSecond: (count / (performance.now() - from)) * 1000 };
    },
    /** The first `mib` of the disk, `passes` times, in pieces of 128 KiB, two at a time, by reading or writing. */
    sequential: (write = 0, mib = 0, passes = 1) => {
      const { worker } = blkfront.disks()[0] as Disk;
      const size = mib << 20;
      const total = size * passes;
      const from = performance.now();
      let asked = 0;
      for (let done = 0; done < total; ) {
        let pushed = false;
        for (; asked - done < 2 * CHUNK && asked < total; asked += CHUNK) {
          const slot = worker.acquire(CHUNK);
          if (slot < 0 || worker.capacity(slot) < CHUNK) throw new Error(`no slot of ${CHUNK} bytes`);
          worker.queue(slot, write ? BLKIF_OP_WRITE : BLKIF_OP_READ, (asked % size) / 512, CHUNK);
          pushed = true;
        }
        if (pushed) worker.push();
        if (worker.step() === 'idle' && !vcpu.events.poll()) vcpu.block();
        for (let slot = worker.reap(); slot >= 0; slot = worker.reap()) {
          if (worker.status(slot) !== 0) throw new Error(`sequential: ${worker.status(slot)}`);
          worker.release(slot);
          done += CHUNK;
        }
      }
      return { mibPerSecond: ((mib * passes) / (performance.now() - from)) * 1000 };
    },
    /** Send frames to everybody for `ms`. */
    send: (ms = 0) => {
      const device = netfront.interfaces()[0]!;
      const end = monotonicNow() + ms * 1e6;
      let sent = 0;
      while (monotonicNow() < end) {
        let full = false;
        for (let i = 0; i < 64; i++) {
          const page = device.txBuffer();
          if (page === undefined) {
            full = true;
            break;
          }
          page.fill(0xff, 0, 6);
          page.set(device.mac, 6);
          page[12] = 0x88;
          page[13] = 0xb5;
          device.txCommit(FRAME);
          sent++;
        }
        if (netfront.step() === 'idle' && !vcpu.events.poll() && full) vcpu.block(end);
      }
      return { sent };
    },
    /** Hear frames for `ms` after the first: how many a second. */
    receive: async (ms = 0) => {
      const device = netfront.interfaces()[0]!;
      received = 0;
      device.onFrame((bytes, offset, length) => {
        received++;
        checksum += bytes[offset + length - 1]!;
      });
      while (received === 0) if (netfront.step() === 'idle' && !vcpu.events.poll()) vcpu.block();
      const from = monotonicNow();
      const first = received;
      const end = from + ms * 1e6;
      while (monotonicNow() < end) if (netfront.step() === 'idle' && !vcpu.events.poll()) vcpu.block(end);
      return { perSecond: ((received - first) * 1e9) / (monotonicNow() - from), checksum };
    },
  };

  const serve = async (): Promise<void> => {
    await Promise.all([blkfront.start(), netfront.start()]);
    console.write(`${JSON.stringify({ domid: vcpu.domid })}\n`);
    for (;;) {
      const line = await console.readLine();
      const [name = '', ...words] = (line ?? '').trim().split(' ');
      const command = commands[name];
      if (!command) throw new Error(`no command ${name}`);
      console.write(`${JSON.stringify(await command(...words.map(Number)))}\n`);
    }
  };
  const turn = (): void => {
    if (!step()) {
      kernel.block();
      step();
    }
    setImmediate(turn);
  };
  serve().catch(error => crashExit(vcpu, error));
  turn();
}
