// Event channels between two domUs, and the null hypercall.
import { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import { pin } from './pin.ts';
import type { Row } from './table.ts';

const RUNS = 7;
const SLEEPS = 10_000;
const SPINS = 1_000_000;

export async function eventRows({ rig, folder, pingPong }: BenchHost): Promise<Row[]> {
  const config = `kernel = "${folder}/events.js"`;
  const a = await BenchDomain.create(rig, folder, 'ping', config);
  const b = await BenchDomain.create(rig, folder, 'echo', config);
  const { port } = await b.run('listen', a.domid);
  await a.run('bind', b.domid, port!);

  const both = async (mode: 'asleep' | 'spinning', rounds: number): Promise<number> => {
    await b.run('echo', mode);
    const { us } = await a.run('ping', mode, rounds);
    await b.run('echo', 'asleep');
    return us!;
  };
  const asleep = { bare: [] as number[], ours: [] as number[] };
  const spinning = { bare: [] as number[], ours: [] as number[] };
  const hypercall = { bare: [] as number[], ours: [] as number[] };
  for (let run = 0; run < RUNS; run++) {
    // Asleep: both ends on one CPU, where a wake-up costs a switch. Spinning: a CPU each.
    asleep.bare.push(await pingPong.roundTrip('asleep', SLEEPS, 1, 1));
    await Promise.all([pin(a.pid, 1), pin(b.pid, 1)]);
    asleep.ours.push(await both('asleep', SLEEPS));
    spinning.bare.push(await pingPong.roundTrip('spinning', SPINS, 0, 1));
    await Promise.all([pin(a.pid, 0), pin(b.pid, 1)]);
    spinning.ours.push(await both('spinning', SPINS));
    hypercall.bare.push(await pingPong.roundTrip('asleep', SLEEPS, 1, 1));
    await Promise.all([pin(a.pid, 1), pin(rig.hypervisorPid, 1)]);
    hypercall.ours.push((await a.run('hypercall', SLEEPS)).us!);
    await pin(rig.hypervisorPid, undefined);
  }
  for (const domain of [a, b]) {
    domain.close();
    await rig.xl('destroy', domain.name);
  }
  const unit = 'µs';
  return [
    { name: 'event round trip, asleep', unit, yardstick: 'futex', ...asleep, goal: { atMost: 2.5 } },
    { name: 'event round trip, spinning', unit, yardstick: 'spin', ...spinning, goal: { atMost: 4 } },
    { name: 'null hypercall', unit, yardstick: 'futex', ...hypercall, goal: { atMost: 3 } },
  ];
}
