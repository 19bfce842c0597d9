// vCPUs that come up, go down and have tasks, all in one thread: test/support/smp-rig.ts.
import { describe, expect, it } from 'vitest';
import { RUNSTATE_offline } from '#pvbus';
import { seeded } from '../../../support/random.ts';
import { SmpRig } from '../../../support/smp-rig.ts';

describe.each([
  ['without traps', false],
  ['mediated', true],
])('vCPUs, their interrupts %s,', (_, mediated) => {
  it('come up where they are told to, go down and come up again', async () => {
    const smp = new SmpRig(4, 1, mediated);
    const changes: string[] = [];
    smp.processors.onChange(online => changes.push(online.join()));
    smp.want(1, 3);
    await smp.settled();
    expect([smp.processors.online, smp.upInXen()]).toEqual([
      [0, 1, 3],
      [0, 1, 3],
    ]);
    expect(smp.guest.domain.vcpus.map(({ runstate }) => runstate.state === RUNSTATE_offline)).toEqual([
      ...[false, false, true, false],
    ]);
    smp.processors.want(0, false); // never
    smp.processors.want(9, true);
    smp.meanwhile = () => {
      // Once 1 is down: a thread alone cannot come back from that without somebody else.
      if (!smp.upInXen().includes(1)) smp.want(1, 2, 3);
    };
    smp.want(3);
    await smp.until(() => smp.processors.online.length === 4, 'all are up');
    expect(smp.upInXen()).toEqual([0, 1, 2, 3]);
    expect(changes.at(-1)).toBe('0,1,2,3');
  });

  it('each have one task at a time; vCPU 0 has those that no other one can', async () => {
    const smp = new SmpRig(3, 2, mediated);
    const where: (number | string)[] = [];
    smp.exports = { where: (n: number) => n + 1, never: () => new Promise(() => {}) };
    const run = (on?: number) => {
      const job = smp.processors.run('where', () => -1, [41], on);
      job.then(
        value => where.push(value as number),
        error => where.push(error.code),
      );
    };
    run();
    await smp.until(() => where.length === 1, 'it ran');
    expect(where).toEqual([-1]);
    run(2);
    await smp.until(() => where.length === 2, 'it failed');
    expect(where[1]).toBe('ENODEV');
    smp.want(1, 2);
    void smp.processors.run('never', () => 0, [], 1);
    for (let i = 0; i < 5; i++) run();
    await smp.until(() => where.length === 7, 'they ran');
    expect(where.slice(2)).toEqual([42, 42, 42, 42, 42]);
  });
});

it('a task that was meant for a vCPU that goes is another one’s', async () => {
  const smp = new SmpRig(3);
  smp.exports = { slow: () => new Promise(resolve => release.push(resolve)), quick: () => 'there' };
  const release: ((value: unknown) => void)[] = [];
  smp.want(1, 2);
  await smp.settled();
  const slow = smp.processors.run('slow', () => 'here', [], 1);
  const quick = smp.processors.run('quick', () => 'here', [], 1);
  await smp.until(() => release.length === 1, 'the first one has begun');
  smp.want(2);
  let had: unknown;
  void quick.then(value => {
    had = value;
  });
  await smp.until(() => had !== undefined, 'the second one ran');
  expect([had, smp.upInXen()]).toEqual(['there', [0, 1, 2]]);
  let downs = 0;
  smp.meanwhile = () => {
    if (smp.upInXen().includes(1)) return;
    downs++;
    smp.want(1, 2); // lets the thread come back
  };
  void slow.then(value => {
    had = value;
  });
  release[0]!('finished');
  await smp.until(() => had === 'finished', 'the first one has ended');
  await smp.until(() => downs > 0 && smp.processors.online.length === 3, 'it went, and came back');
});

it.each(Array.from({ length: 10 }, (_, seed) => seed))(
  'every task runs once however vCPUs come and go, seed %i',
  async seed => {
    const smp = new SmpRig(4, seed);
    const random = seeded(1000 + seed);
    const ran: number[] = [];
    const results: number[] = [];
    const task = (n: number): number => {
      ran.push(n);
      return n;
    };
    smp.exports = { task };
    let asked = 0;
    smp.meanwhile = () => {
      if (asked === 200) smp.want(1, 2, 3);
      else if (random() < 0.3) {
        const on = random() < 0.2 ? 1 + Math.floor(random() * 3) : undefined;
        const job = smp.processors.run('task', task as never, [asked++], on);
        job.then(
          value => results.push(value as number),
          error => {
            expect(error.code).toBe('ENODEV');
            results.push(-1);
          },
        );
      }
      if (asked < 200 && random() < 0.1) smp.processors.want(1 + Math.floor(random() * 3), random() < 0.5);
    };
    await smp.until(() => results.length === 200, 'every task has ended');
    expect(new Set(ran).size).toBe(ran.length);
    expect(ran.toSorted((a, b) => a - b)).toEqual(results.filter(n => n >= 0).toSorted((a, b) => a - b));
    await smp.settled();
    expect(smp.upInXen()).toEqual([0, 1, 2, 3]);
  },
);

it('a vCPU that shared_info has no place for has its vcpu_info elsewhere, and is reached without traps', async () => {
  const smp = new SmpRig(34);
  smp.want(33);
  await smp.settled();
  expect(smp.guest.domain.vcpus[33]!.infoRegistered).toBe(true);
  smp.exports = {};
  const failed = smp.processors.run('nothing', () => 0, [], 33);
  let message = '';
  failed.catch(error => {
    message = error.message;
  });
  await smp.until(() => message !== '', 'it answers');
  expect(message).toBe("the program exports no function 'nothing'");
  smp.siblings.get(33)!.write('a line\n');
  await smp.until(() => smp.said.length > 0, 'it is heard');
  expect(smp.said).toEqual(['a line\n']);
});

it('act 41: no peer wakes a vCPU but 0, of which alone the storms are guarded', async () => {
  const smp = new SmpRig(2, 9);
  smp.exports = { nothing: () => 0 };
  const peer = smp.rig.guest().kernel();
  smp.want(1);
  await smp.settled();
  const port = peer.events.allocUnbound(smp.vcpu.domid);
  smp.vcpu.events.bindInterdomain(peer.domid, port);
  await smp.until(() => smp.vcpu.wakeWords.count === 2, 'vCPU 0 sleeps on the word of the peer');
  await smp.until(isDone(smp.processors.run('nothing', () => -1, [], 1)), 'the other had its turns');
  expect(smp.siblings.get(1)!.vcpu.wakeWords.count).toBe(1); // the hypervisor's
});
function isDone(job: Promise<unknown>): () => boolean {
  let done = false;
  job.finally(() => {
    done = true;
  });
  return () => done;
}
