// Works with all it has until `data/end` is 1, and checks all that comes back: blocks of its disk, datagrams that a
// neighbour answers, a sum under a lock by tasks on every vCPU that is up, and the account of each vCPU's time.
import { clock, console, disks, type Lock, net, smp, system } from 'xenolith';

const SECTORS = 16;
const PLACES = 64;
const DEPTH = 4;
const PORT = 7;
/** ms; what is lost is sent again. */
const RESEND_AFTER = 500;

let ending = false;
const wrong = (what: string): void => console.log(`WRONG: ${what}`);

/** Under the lock, `n` times: a sum that is no atomic operation. */
export function add(lock: Lock, sum: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) lock.hold(() => (sum[0] = sum[0]! + 1));
}

/** Writes places of the disk over and over, and reads back what was written there before. */
async function blocks(lane: number): Promise<number> {
  const disk = disks.get('xvda');
  const words = (SECTORS * disk.sectorSize) / 4;
  const [there, back] = [new Uint32Array(words), new Uint32Array(words)];
  const written = new Map<number, number>();
  const word = (n: number, i: number): number => Math.imul(n + 1, 0x9e3779b1) ^ Math.imul(i, 0x85ebca6b);
  let n = lane;
  for (; !ending; n += DEPTH) {
    const place = lane * PLACES + ((Math.imul(n, 40503) >>> 4) % PLACES);
    const before = written.get(place);
    if (before !== undefined) {
      await disk.submitRead(place * SECTORS, new Uint8Array(back.buffer));
      if (!back.every((value, i) => value === word(before, i) >>> 0)) wrong(`block ${place}, written as ${before}`);
    }
    for (let i = 0; i < words; i++) there[i] = word(n, i);
    await disk.submitWrite(place * SECTORS, new Uint8Array(there.buffer));
    written.set(place, n);
  }
  return Math.floor(n / DEPTH);
}

/** Each datagram is sent until it comes back as it was. */
async function datagrams(to: string): Promise<number> {
  const socket = net.udp();
  const sent = new Uint8Array(1400);
  let n = 0;
  for (; !ending; n++) {
    new DataView(sent.buffer).setUint32(0, n);
    for (let i = 4; i < sent.length; i++) sent[i] = n + i;
    for (let answered = false; !answered && !ending; ) {
      socket.send(sent, to, PORT);
      const got = await socket.receive({ timeoutMs: RESEND_AFTER }).catch(() => undefined);
      if (got === undefined) continue;
      const of = new DataView(got.data.buffer, got.data.byteOffset).getUint32(0);
      // An answer to one that was sent twice.
      if (of < n) continue;
      answered = true;
      if (of > n || got.data.length !== sent.length || !got.data.every((byte, i) => byte === sent[i]))
        wrong(`datagram ${n} came back as another one`);
    }
  }
  socket.close();
  return n;
}
async function echo(): Promise<never> {
  const socket = net.udp(PORT);
  for (;;) {
    const { data, address, port } = await socket.receive();
    socket.send(data, address, port);
  }
}

async function sums(): Promise<number> {
  const lock = smp.lock();
  const sum = smp.alloc(Float64Array, 1);
  const n = 200;
  let done = 0;
  const worker = async (): Promise<void> => {
    for (; !ending; done++) {
      await smp.run(add, lock, sum, n);
      // Alone, vCPU 0 runs the tasks itself: it is to do the rest, too.
      if (smp.online.length === 1) await clock.sleep(1);
    }
  };
  await Promise.all(Array.from({ length: smp.max }, worker));
  if (sum[0] !== done * n) wrong(`the sum is ${sum[0]}, not ${done * n}`);
  return done;
}

/** How much time a vCPU's account says has passed, some time between `from` and `to`. */
function account(vcpu: number): { from: number; to: number; times: number[] } {
  const from = clock.now();
  const { running, runnable, blocked, offline } = smp.times(vcpu);
  return { from, to: clock.now(), times: [running, runnable, blocked, offline] };
}
const total = (times: readonly number[]): number => times.reduce((a, b) => a + b);
/** ms: nanoseconds as a number of ms are not exact. */
const ROUNDING = 0.001;

async function accounts(): Promise<number> {
  const all = Array.from({ length: smp.max }, (_, vcpu) => vcpu);
  const first = all.map(account);
  let last = first;
  let n = 0;
  for (; !ending; n++) {
    await clock.sleep(20);
    const now = all.map(account);
    now.forEach(({ from, to, times }, vcpu) => {
      const before = first[vcpu]!;
      const passed = total(times) - total(before.times);
      if (passed < from - before.to - ROUNDING || passed > to - before.from + ROUNDING)
        wrong(`the times of vCPU ${vcpu} add up to ${passed}; ${from - before.to} to ${to - before.from} ms passed`);
      if (times.some((time, i) => time < last[vcpu]!.times[i]!)) wrong(`a time of vCPU ${vcpu} went back`);
    });
    last = now;
  }
  return n;
}

export default async function main(): Promise<void> {
  const { doing, to } = system.args;
  if (doing === 'spin') {
    console.log('spins');
    setTimeout(() => {
      for (;;);
    }, 10);
    return new Promise(() => {});
  }
  await system.store.watch('data/end', async () => {
    ending ||= (await system.store.read('data/end').catch(() => '')) === '1';
  });
  if (doing === 'echo') void echo();
  console.log('is at work');
  const io = Promise.all(Array.from({ length: DEPTH }, (_, lane) => blocks(lane)));
  const traffic = typeof to === 'string' ? datagrams(to) : 0;
  const did = await Promise.all([io, traffic, sums(), accounts()]);
  console.log(`has done ${JSON.stringify({ blocks: total(did[0]), datagrams: did[1], tasks: did[2], looks: did[3] })}`);
  return new Promise(() => {});
}
