// The victim's kernel: the real drivers, and somebody who reads from each disk and sends by each interface all the time, for
// as long as it goes well. It says what came of that when it is asked.
import { attachVcpu, crashExit, domid, XenError } from '#pvbus';
import { drive } from '../../../domu-kernel/drive.ts';
import { Blkfront } from '../../../domu-kernel/drivers/blkfront/device.ts';
import type { Disk } from '../../../domu-kernel/drivers/blkfront/disk.ts';
import type { BlkfrontWorker } from '../../../domu-kernel/drivers/blkfront/worker.ts';
import { Frontend, type FrontendDevice, findDevices } from '../../../domu-kernel/drivers/frontend-device.ts';
import { Netfront } from '../../../domu-kernel/drivers/netfront/device.ts';
import { PvcallsDevice } from '../../../domu-kernel/drivers/pvcallsfront/device.ts';
import { compileFatFs } from '../../../domu-kernel/fs/fat-core.ts';
import { ffWasm } from '../../../domu-kernel/fs/ff-wasm.ts';
import { Kernel } from '../../../domu-kernel/kernel.ts';
import type { Boot } from '../hostile-acts/performer.ts';

/** Readers of a disk. */
const READERS = 2;
const PAUSE_MS = 2;
const FRAME = 100;
/** Pages that are written to and given back: more than all devices take. */
const USED = 6144;

const MAX_CALLS = 3;
const codeOf = (error: unknown): string => (error instanceof XenError ? error.code : String(error));

interface Reads {
  ok: number;
  /** How those ended that did not go well; the reader ends with them. */
  readonly failed: string[];
  /** The values of all the bytes that were read. */
  readonly bytes: number[];
}

export function start({ controlFd, boot }: Boot): void {
  const vcpu = attachVcpu(controlFd, boot);
  process.on('uncaughtException', error => crashExit(vcpu, error));
  process.on('unhandledRejection', error => crashExit(vcpu, error));
  let [turns, sleeps, kept, cut] = [0, 0, 0, 0];
  const kernel = new Kernel({
    ...{ vcpu, fatFs: () => compileFatFs(ffWasm) },
    block: deadline => {
      sleeps++;
      vcpu.block(deadline);
      // Only a peer that is not to be heard for a while sets a deadline.
      if (deadline === undefined) return;
      if (kernel.clock.now() >= deadline) kept++;
      else if (!vcpu.events.pending() && !vcpu.wakeWords.changed()) cut++;
    },
  });
  const { xs, log, console } = kernel;
  const pause = (): Promise<void> => new Promise(resolve => void kernel.timers.after(PAUSE_MS, resolve));

  const reads = new Map<string, Reads>();
  const read = async (disk: Disk): Promise<void> => {
    const done: Reads = reads.get(disk.name) ?? { ok: 0, failed: [], bytes: [] };
    reads.set(disk.name, done);
    const into = new Uint8Array(4096);
    try {
      for (let n = 0; ; n = (n + 1) % 64) {
        await disk.submitRead(n * 8, into);
        done.ok++;
        for (const byte of into) if (!done.bytes.includes(byte)) done.bytes.push(byte);
        await pause();
      }
    } catch (error) {
      done.failed.push(codeOf(error));
    }
  };
  const blkfront = new Blkfront({
    ...{ xs, log, vcpu, blocking: kernel },
    onDisk: disk => {
      for (let i = 0; i < READERS; i++) void read(disk);
    },
  });
  const frame = new Uint8Array(FRAME).fill(0x55);
  const netfront = new Netfront({
    ...{ xs, log, vcpu },
    onInterface: device => {
      const send = async (): Promise<void> => {
        for (;;) {
          device.send(frame, FRAME);
          await pause();
        }
      };
      void send();
    },
  });

  const pvcalls = new Frontend({
    ...{ xs, log, clock: kernel.clock, type: 'pvcalls', domid: vcpu.domid },
    create: device => new PvcallsDevice(device, vcpu, log),
  });
  /** Of each device, how its connections went: a byte has come, or an errno. */
  const calls = new Map<number, string[]>();
  /** Connections one after the other, until two have failed so. */
  const call = async ({ devid, instance }: FrontendDevice): Promise<void> => {
    const outcomes: string[] = [];
    calls.set(devid, outcomes);
    const sockets = instance as PvcallsDevice; // made by create above
    while (outcomes.length < MAX_CALLS) {
      try {
        const connection = await sockets.connect(80);
        const outcome = connection.read().then(
          bytes => String(bytes?.length),
          error => codeOf(error),
        );
        outcomes.push(await outcome);
        await connection.close();
      } catch (error) {
        outcomes.push(codeOf(error));
        return; // the device is given up
      }
    }
  };

  const report = () => ({
    turns,
    sleeps,
    kept,
    cut,
    now: kernel.clock.now(),
    calls: Object.fromEntries(calls),
    disks: Object.fromEntries(reads),
    quarantined: blkfront.frontend
      .devices()
      .map(({ devid, instance }) => [devid, (instance as unknown as { worker: BlkfrontWorker }).worker.stats] as const)
      .filter(([, stats]) => stats.quarantined > 0)
      .map(([devid]) => devid),
    vifs: netfront.interfaces().map(({ stats }) => stats),
  });
  const serve = async (): Promise<void> => {
    // What is shared with the backend from here on has been used.
    const backend = domid(Number(await xs.read(`/local/domain/${vcpu.domid}/device/vbd/51712/backend-id`)));
    const used = vcpu.grants.allocShared(backend, USED);
    used.bytes.fill(0xaa);
    used.release();
    void blkfront.start();
    void netfront.start();
    await findDevices(xs, vcpu.domid, [pvcalls]);
    for (const device of pvcalls.devices()) void call(device);
    console.write(`${JSON.stringify({ domid: vcpu.domid })}\n`);
    for (;;) {
      await console.readLine();
      console.write(`${JSON.stringify(report())}\n`);
    }
  };
  serve().catch(error => crashExit(vcpu, error));
  drive(
    {
      step: () => {
        turns++;
        let progress = kernel.step() === 'progress';
        if (blkfront.step() === 'progress') progress = true;
        if (netfront.step() === 'progress') progress = true;
        if (pvcalls.takeMoved()) progress = true;
        return progress ? 'progress' : 'idle';
      },
      block: () => kernel.block(),
    },
    error => crashExit(vcpu, error),
  );
}
