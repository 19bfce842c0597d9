// Works on all its vCPUs, as its command line says: `does=…`.
import { type Barrier, clock, console, files, type Lock, type Semaphore, smp, system } from 'xenolith';

/** Under the lock, `n` times: a sum that is no atomic operation. */
export function add(lock: Lock, sum: Float64Array, n: number): number {
  for (let i = 0; i < n; i++) lock.hold(() => (sum[0] = sum[0]! + 1));
  return smp.vcpu;
}

/** One end of a ping-pong: takes from `mine`, gives to `theirs`. */
export function player(mine: Semaphore, theirs: Semaphore, count: Int32Array, rounds: number): number {
  for (let i = 0; i < rounds; i++) {
    mine.acquire();
    count[0] = count[0]! + 1;
    theirs.release();
  }
  return smp.vcpu;
}

/** Rounds over a barrier: nobody is ever more than one ahead. */
export function walker(barrier: Barrier, steps: Int32Array, place: number, rounds: number): boolean {
  for (let round = 1; round <= rounds; round++) {
    Atomics.store(steps, place, round);
    barrier.wait();
    for (let i = 0; i < barrier.parties; i++) if (Atomics.load(steps, i) < round) return false;
    barrier.wait();
  }
  return true;
}

export function forever(started: Int32Array): void {
  Atomics.store(started, 0, 1);
  while (true);
}
/** Computes, and sleeps now and then: so it gets other things done in between. */
async function works(): Promise<void> {
  for (let turn = 1; ; turn++) {
    const until = clock.now() + 0.1;
    while (clock.now() < until);
    await new Promise(resolve => setImmediate(resolve));
    if (turn % 1000 === 0) console.log(`turn ${turn}`);
  }
}
export function fails(): never {
  throw Object.assign(new RangeError(`a bug on vCPU ${smp.vcpu}`), { code: 'EBUG' });
}
export function failsLater(): void {
  setTimeout(fails, 1);
}
export async function naps(ms: number): Promise<number> {
  console.log(`vCPU ${smp.vcpu} naps`);
  await clock.sleep(ms);
  return smp.vcpu;
}
export function echo(value: unknown): unknown {
  return value;
}
export function usesDisk(): void {
  files.list();
}

const others = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

async function sums(): Promise<void> {
  const lock = smp.lock();
  const sum = smp.alloc(Float64Array, 1);
  const n = 20_000;
  const by = await Promise.all([1, 2, 3].map(vcpu => smp.runOn(vcpu, add, lock, sum, n)));
  add(lock, sum, n);
  console.log(`sum ${sum[0]} of vCPUs ${by}`);
}
async function pingPong(rounds: number): Promise<void> {
  const [ping, pong] = [smp.semaphore(1), smp.semaphore(0)];
  const count = smp.alloc(Int32Array, 1);
  const from = clock.now();
  const by = await Promise.all([
    smp.runOn(1, player, ping, pong, count, rounds),
    smp.runOn(2, player, pong, ping, count, rounds),
  ]);
  const us = ((clock.now() - from) * 1000) / rounds;
  console.log(`${count[0]} turns of vCPUs ${by}`);
  console.log(`${us.toFixed(1)} us a round trip`);
}
async function walks(): Promise<void> {
  const barrier = smp.barrier(3);
  const steps = smp.alloc(Int32Array, 3);
  const rounds = 2000;
  const kept = await Promise.all(others(3).map(i => smp.runOn(i + 1, walker, barrier, steps, i, rounds)));
  console.log(`in step: ${kept}, ${[...steps]}`);
}
/** Tasks without end to the sum, while vCPUs come and go. */
async function hotplug(): Promise<void> {
  const lock = smp.lock();
  const sum = smp.alloc(Float64Array, 1);
  const n = 500;
  let [done, ending, changes] = [0, false, 0];
  smp.onChange(() => changes++);
  system.onShutdown(() => {
    ending = true;
  });
  await system.store.watch('data/end', async () => {
    ending = (await system.store.read('data/end').catch(() => '')) === '1';
  });
  console.log('begins');
  const worker = async (): Promise<void> => {
    while (!ending) {
      await smp.run(add, lock, sum, n);
      done++;
      if (smp.online.length === 1) await clock.sleep(0);
    }
  };
  await Promise.all(others(6).map(worker));
  console.log(`sum ${sum[0]} ${sum[0] === done * n ? 'is right' : `should be ${done * n}`}; changes: ${changes > 0}`);
}
async function carries(): Promise<void> {
  const shared = smp.alloc(Uint16Array, 10).subarray(3, 5);
  shared[0] = 7;
  const sent = { a: [1, 'x', null, undefined, 2n ** 70n], m: new Map([[1, new Date(5)]]), copy: Float32Array.of(1, 2) };
  const back = (await smp.run(echo, { ...sent, shared })) as typeof sent & { shared: Uint16Array };
  back.shared[1] = 9;
  back.copy[0] = 5;
  console.log(`shared ${[...shared]} copied ${[...sent.copy]} ${back.a.map(String)} ${back.m.get(1)!.getTime()}`);
  const big = (await smp.run(echo, 'y'.repeat(300_000))) as string;
  console.log(`long ${big.length}`);
  await smp.run(fails).catch(e => console.log(`${e.name}: ${e.message}, ${e.code}, ${e.stack.includes('fails')}`));
  await smp.run(usesDisk).catch(e => console.log(`${e.code} ${e.message}`));
  await smp.run(() => 1).catch(e => console.log(`${e.code} ${e.message}`));
  await smp.run(echo, () => 1).catch(e => console.log(`${e.message}`));
  await smp.runOn(9, echo, 1).catch(e => console.log(`${e.code} ${e.message}`));
  console.log(`nap on ${await smp.runOn(2, naps, 20)}`);
  const lock = smp.lock();
  lock.acquire();
  for (const wrong of [() => lock.acquire(), () => smp.lock().release()]) {
    try {
      wrong();
    } catch (error) {
      console.log((error as { code: string }).code);
    }
  }
}

export default async function main(): Promise<void> {
  console.log(`${smp.vcpu} of ${smp.max}, on line: ${smp.online}`);
  const { does } = system.args;
  if (does === 'sums') await sums();
  if (does === 'ping-pong') await pingPong(100_000);
  if (does === 'walks') await walks();
  if (does === 'hotplug') await hotplug();
  if (does === 'carries') await carries();
  if (does === 'works') await works();
  if (does === 'throws') await smp.runOn(2, failsLater);
  if (does === 'spins') {
    const started = smp.alloc(Int32Array, 1);
    void smp.runOn(1, forever, started);
    while (Atomics.load(started, 0) === 0) await clock.sleep(1);
    console.log('vCPU 1 spins');
    for await (const line of console.lines()) console.log(`heard ${line}`);
  }
  console.log('done');
  if (does === 'waits' || does === 'throws') for (;;) await clock.sleep(1e6);
}
