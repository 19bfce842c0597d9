// The guest's side of the FIFO ABI over the real hypervisor core: in one thread, and in two processes.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  type EvtchnPort,
  futexWake,
  PAGE_SIZE,
  PORT_TABLE_ENTRIES,
  port,
  type Vcpu,
  VIRQ_DEBUG,
  vcpu_page,
  vcpuFrame,
  XenError,
} from '#pvbus';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig, type Guest } from '../../support/core-rig.ts';
import { seeded } from '../../support/random.ts';

let rig: CoreRig;
let a: Guest;
let b: Guest;
let sender: Vcpu;
let hearer: Vcpu;

function start(options: { mediated?: boolean; pages?: number; vcpus?: number } = {}): void {
  rig = new CoreRig({ mediated: options.mediated ?? false });
  a = rig.guest();
  b = rig.guest({ pages: options.pages ?? 64, vcpus: options.vcpus ?? 1 });
  sender = a.kernel();
  hearer = b.kernel();
}
beforeEach(() => start());

const heard: EvtchnPort[] = [];
/** A channel from the sender to `vcpu`, whose events are noted. */
function channel(vcpu = hearer): { here: EvtchnPort; there: EvtchnPort } {
  const there = vcpu.events.allocUnbound(sender.domid);
  const here = sender.events.bindInterdomain(vcpu.domid, there);
  vcpu.events.on(there, () => heard.push(there));
  return { here, there };
}
function channels(n: number, vcpu = hearer): { here: EvtchnPort; there: EvtchnPort }[] {
  const made = Array.from({ length: n }, () => channel(vcpu));
  sender.events.poll();
  vcpu.events.poll();
  heard.length = 0;
  return made;
}
const take = (vcpu = hearer): EvtchnPort[] => {
  heard.length = 0;
  while (vcpu.events.poll());
  return [...heard];
};
const counted = () => {
  const traps = { n: 0 };
  const { trap } = rig.hypervisor;
  rig.hypervisor.trap = (...args) => {
    traps.n++;
    return trap.apply(rig.hypervisor, args);
  };
  return traps;
};

describe('a kernel that chose the FIFO ABI', () => {
  it('hears doorbells without a trap, the most urgent first', () => {
    hearer.events.useFifo();
    const made = channels(5);
    [9, 0, 7, 0, 15].forEach((priority, i) => {
      hearer.events.setPriority(made[i]!.there, priority);
    });
    const traps = counted();
    for (const { here } of made) sender.events.notify(here);
    for (const { here } of made) sender.events.notify(here);
    const [p0, p1, p2, p3, p4] = made.map(({ there }) => there);
    expect(take()).toEqual([p1, p3, p2, p0, p4]);
    expect(take()).toEqual([]);
    expect(traps.n).toBe(0);
  });
  it('hears what the hypervisor raises among them, by the same priorities', () => {
    hearer.events.useFifo();
    const [urgent, plain, late] = channels(3) as { here: EvtchnPort; there: EvtchnPort }[];
    hearer.events.setPriority(urgent!.there, 1);
    hearer.events.setPriority(late!.there, 12);
    const virq = hearer.events.bindVirq(VIRQ_DEBUG);
    hearer.events.on(virq, () => heard.push(virq));
    take();
    sender.events.notify(late!.here);
    a.vcpuId = 0;
    a.send(plain!.here); // by a trap, though it need not
    sender.events.notify(urgent!.here);
    expect(take()).toEqual([urgent!.there, plain!.there, late!.there]);
  });
  it('loses nothing that came before it chose', () => {
    const [one, two] = channels(2) as { here: EvtchnPort; there: EvtchnPort }[];
    sender.events.notify(one!.here);
    a.send(two!.here);
    hearer.events.useFifo();
    expect(take().sort()).toEqual([one!.there, two!.there].sort());
  });
  it('keeps an event of a port nobody hears until somebody does', () => {
    hearer.events.useFifo();
    const there = hearer.events.allocUnbound(sender.domid);
    const here = sender.events.bindInterdomain(hearer.domid, there);
    a.send(here);
    expect(take()).toEqual([]);
    hearer.events.on(there, () => heard.push(there));
    expect(take()).toEqual([there]);
  });
  it('has no priorities before it chose, and not more than 16', () => {
    const { there } = channels(1)[0]!;
    expect(() => hearer.events.setPriority(there, 3)).toThrow(XenError);
    hearer.events.useFifo();
    expect(() => hearer.events.setPriority(there, 16)).toThrow('set_priority');
  });
  it('has more ports than 4096: pages are added as they are needed, and no event is lost on the way', () => {
    start({ pages: 64 });
    hearer.events.useFifo();
    const far: { here: EvtchnPort; there: EvtchnPort }[] = [];
    for (let i = 1; i < 10_000; i++) {
      const there = hearer.events.allocUnbound(sender.domid);
      if (there % 1024 > 2 && there !== PORT_TABLE_ENTRIES - 1) continue;
      const here = sender.events.bindInterdomain(hearer.domid, there);
      hearer.events.on(there, () => heard.push(there));
      far.push({ here, there });
    }
    expect(far.length).toBeGreaterThan(25);
    take();
    for (const { here } of far) sender.events.notify(here);
    expect(new Set(take())).toEqual(new Set(far.map(({ there }) => there)));
    // The other way the far ports have no route either, and work.
    let answers = 0;
    for (const { here } of far) sender.events.on(here, () => answers++);
    while (sender.events.poll());
    answers = 0;
    for (const { there } of far) hearer.events.notify(there);
    while (sender.events.poll());
    expect(answers).toBe(far.length);
    checkInvariants(rig.hypervisor);
  });
  it('has vcpus that agree on the pages; a port that moves takes its events along', () => {
    start({ vcpus: 2 });
    const second = b.kernel(1);
    const directory = hearer.events.useFifo();
    expect(second.events.useFifo(directory)).toBe(directory);
    const made = channels(3);
    // Made by the other one, beyond the page both know.
    for (let i = 0; i < 1100; i++) second.events.allocUnbound(sender.domid);
    const mine = channels(1, second)[0]!;
    expect(mine.there).toBeGreaterThan(1024);
    take();
    sender.events.notify(mine.here);
    expect(take(second)).toEqual([mine.there]);
    // In a queue of vcpu 0's when it moves: vcpu 0 finds it there and has it put where it is heard.
    const { here, there } = made[1]!;
    a.vcpuId = 0;
    a.send(here);
    hearer.events.off(there);
    second.events.on(there, () => heard.push(there));
    second.events.poll();
    heard.length = 0;
    a.send(here);
    expect(take(hearer)).toEqual([]);
    a.send(here);
    hearer.events.poll();
    expect(take(second)).toEqual([there]);
    for (const { here: h } of made) sender.events.notify(h);
    expect(take(hearer)).toEqual([made[0]!.there, made[2]!.there]);
    expect(take(second)).toEqual([there]);
  });
});

describe('two processes', () => {
  const PORTS = 1500;
  const SENDS = 200_000;
  const SEQ_GFN = 1;

  /** Its process, and the words by which the two tell each other how far they are. */
  function peer(mode: 'hear' | 'scribble', directory: number, first: number, gfn = 0, pages = 0) {
    const { layout, memory } = b.domain;
    const args = [mode, layout.maxPages, layout.maxVcpus, directory, first, PORTS, SEQ_GFN, gfn, pages].map(String);
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/support/fifo-peer.ts', ...args], {
      stdio: ['ignore', 'inherit', 'inherit', memory.fd],
    });
    const seq = (SEQ_GFN * PAGE_SIZE) / 4;
    return { child, seq, seen: seq + PORTS, stop: seq + 2 * PORTS };
  }
  async function begun(child: ChildProcess, stop: number): Promise<void> {
    while (Atomics.load(b.domain.memory.words, stop + 1) === 0) {
      if (child.exitCode !== null) throw new Error('the peer has ended');
      await new Promise(resolve => setTimeout(resolve, 5));
    }
  }
  async function finish(child: ChildProcess, stop: number): Promise<void> {
    const exited = child.exitCode === null ? once(child, 'exit') : undefined;
    Atomics.store(b.domain.memory.words, stop, 1);
    b.domain.vcpus[0]!.wake();
    const { memory, layout } = b.domain;
    futexWake(memory.address + vcpuFrame(layout, 0) * PAGE_SIZE + vcpu_page.at.event_seq);
    await exited;
    expect(child.exitCode).toBe(0);
  }

  it(`every port of ${PORTS} hears of its last event, whatever the queues are doing meanwhile`, {
    timeout: 120_000,
  }, async () => {
    start({ mediated: true, pages: 64 });
    hearer.frames = b.kernel().frames;
    const directory = hearer.events.useFifo();
    const next = seeded(4);
    const random = (n: number) => Math.floor(next() * n);
    const made: { here: EvtchnPort; there: EvtchnPort }[] = [];
    for (let i = 0; i < PORTS; i++) {
      const there = hearer.events.allocUnbound(sender.domid);
      made.push({ here: sender.events.bindInterdomain(hearer.domid, there), there });
      hearer.events.setPriority(there, random(16));
    }
    const { child, seq, seen, stop } = peer('hear', directory, made[0]!.there);
    const { words } = b.domain.memory;
    try {
      await begun(child, stop);
      for (let i = 0; i < SENDS; i++) {
        const n = random(PORTS);
        Atomics.add(words, seq + n, 1);
        a.send(made[n]!.here);
        // Sometimes it moves to another queue.
        if (i % 64 === 0) hearer.events.setPriority(made[random(PORTS)]!.there, random(16));
      }
      const behind = () => made.filter((_, n) => Atomics.load(words, seen + n) !== Atomics.load(words, seq + n));
      const deadline = Date.now() + 60_000;
      while (behind().length > 0) {
        if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${behind().length} ports lost events`);
        await new Promise(resolve => setTimeout(resolve, 5));
      }
    } finally {
      await finish(child, stop);
    }
    checkInvariants(rig.hypervisor);
  });

  it('a guest that changes its words while they are linked keeps nobody waiting and reaches nothing else', {
    timeout: 120_000,
  }, async () => {
    start({ mediated: true, pages: 64 });
    const directory = hearer.events.useFifo();
    const made = Array.from({ length: PORTS }, () => {
      const there = hearer.events.allocUnbound(sender.domid);
      return { here: sender.events.bindInterdomain(hearer.domid, there), there };
    });
    // The directory, the control blocks and the words: frames from the top of its memory down.
    const lowest = hearer.frames.alloc(1) + 1;
    const pages = 64 - lowest;
    const { child, seq, stop } = peer('scribble', directory, made[0]!.there, lowest, pages);
    const elsewhere = () => Buffer.from(b.bytes.subarray(0, lowest * PAGE_SIZE));
    try {
      const { words } = b.domain.memory;
      await begun(child, stop);
      const before = elsewhere();
      const [mine, theirs] = a.connect(rig.dom0);
      for (let i = 0; i < 50_000; i++) {
        expect(a.send(made[i % PORTS]!.here)).toBe(0);
        if (i % 100 !== 0) continue;
        rig.dom0.takePending(theirs);
        expect(a.send(mine)).toBe(0);
        expect(rig.dom0.pending(theirs)).toBe(true);
        const { there } = made[i % PORTS]!;
        b.vcpuId = 0;
        expect(b.close(there)).toBe(0);
        const again = b.allocUnbound(a.domid);
        expect(again > 0 && again < 2 ** 17).toBe(true);
        const here = a.bindInterdomain(b.domid, again);
        made[i % PORTS] = { here: port(here), there: port(again) };
      }
      expect(elsewhere().equals(before)).toBe(true);
      expect(Atomics.load(words, seq)).toBe(0);
      expect(rig.internalErrors).toEqual([]);
    } finally {
      await finish(child, stop);
    }
    checkInvariants(rig.hypervisor);
  });
});
