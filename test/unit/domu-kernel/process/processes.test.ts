import { beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '#pvbus';
import { type Routine, RoutineBody } from '../../../../domu-kernel/process/body.ts';
import type { OpenFile } from '../../../../domu-kernel/process/open-file.ts';
import { PIPE_SIZE, Pipe } from '../../../../domu-kernel/process/pipe.ts';
import { type ExitStatus, exitNumber, type Process } from '../../../../domu-kernel/process/process.ts';
import { Processes, SLICE_NS } from '../../../../domu-kernel/process/processes.ts';
import { Wait, YIELD } from '../../../../domu-kernel/process/wait.ts';
import { WaitQueue } from '../../../../domu-kernel/wait-queue.ts';
import { Descriptor, FdTable } from '../../../../domu-kernel/wasi/fd-table.ts';

let now = 1e9;
const clock: Clock = { now: () => now, wallMs: () => now / 1e6 };
let processes: Processes;
let said: string[];
const say = (line: string): void => void said.push(line);

beforeEach(() => {
  now = 1e9;
  processes = new Processes(clock);
  said = [];
});

/** A table with one descriptor, whose end `closed` hears of. */
function tableOf(closed: () => void): FdTable {
  const fds = new FdTable();
  const end = { ...new Pipe().reader, kind: 'pipe' as const, release: closed } as OpenFile;
  fds.set(0, new Descriptor(end));
  return fds;
}
interface Options {
  readonly parent?: Process;
  readonly pgid?: number;
  readonly onEnd?: (status: ExitStatus) => void;
  readonly closeAll?: () => void;
}
function spawn(routine: (process: Process) => Routine, { closeAll, parent, ...options }: Options = {}): Process {
  return processes.spawn({
    parent,
    argv: ['test'],
    env: new Map(),
    cwd: '/',
    fds: closeAll ? tableOf(closeAll) : new FdTable(),
    body: process => new RoutineBody(routine(process)),
    ...options,
  });
}
function run(): void {
  while (processes.step() === 'progress');
}
/** Until it ends, or for ever. */
function* forever(queue = new WaitQueue()): Routine {
  for (;;) yield new Wait([queue]);
}
/** Uses its slices up without an end. */
function* hog(): Routine {
  for (;;) {
    now += SLICE_NS;
    yield YIELD;
  }
}
function* after(wait: Wait, line: string): Routine {
  yield wait;
  say(line);
  return 0;
}

describe('the scheduler', () => {
  it('is idle when everybody waits, and says until when', () => {
    const a = new Wait([], now + 300);
    spawn(() => after(a, 'a'));
    spawn(() => after(new Wait([], 1e9 + 200), 'b'));
    run();
    expect(processes.deadline()).toBe(1e9 + 200);
    now += 200;
    run();
    expect(said).toEqual(['b']);
    expect(processes.deadline()).toBe(1e9 + 300);
    now += 100;
    run();
    expect(said).toEqual(['b', 'a']);
    expect(processes.deadline()).toBeUndefined();
  });

  it('wakes who waits for one of several queues once, and leaves the others', () => {
    const [one, other] = [new WaitQueue(), new WaitQueue()];
    spawn(function* () {
      yield new Wait([one, other], now + 1e9);
      say('woken');
      yield new Wait([other]);
      say('again');
      return 0;
    });
    run();
    one.wakeAll();
    run();
    expect(said).toEqual(['woken']);
    expect(one.isEmpty).toBe(true);
    other.wakeAll();
    run();
    expect(said).toEqual(['woken', 'again']);
    expect(other.isEmpty).toBe(true);
  });

  it('has who is woken run before those whose slices are over: ten hogs cost it one slice', () => {
    for (let n = 0; n < 10; n++) spawn(hog);
    const queue = new WaitQueue();
    spawn(() => after(new Wait([queue]), 'woken'));
    for (let n = 0; n < 20; n++) processes.step();
    const woken = now;
    queue.wakeAll();
    while (said.length === 0) processes.step();
    expect(now - woken).toBeLessThanOrEqual(SLICE_NS);
  });

  it('has who is woken wait for one slice also when each takes long, since the host has the vCPU away', () => {
    const longNs = 10 * SLICE_NS;
    for (let n = 0; n < 10; n++)
      spawn(function* () {
        for (;;) {
          now += longNs;
          yield YIELD;
        }
      });
    const queue = new WaitQueue();
    spawn(() => after(new Wait([queue]), 'woken'));
    for (let n = 0; n < 20; n++) processes.step();
    const woken = now;
    queue.wakeAll();
    while (said.length === 0 && now - woken < 100 * longNs) processes.step();
    expect(now - woken).toBeLessThanOrEqual(longNs);
  });

  it('gives hogs the same share each', () => {
    const shares = [0, 0, 0, 0, 0];
    shares.forEach((_, i) => {
      spawn(function* () {
        for (;;) {
          now += SLICE_NS;
          shares[i]!++;
          yield YIELD;
        }
      });
    });
    while (now < 1e9 + 1000 * SLICE_NS) processes.step();
    for (const share of shares) expect(Math.abs(share - 200)).toBeLessThanOrEqual(1);
  });

  it('lets a hog go on beside two that wake one another without an end', () => {
    const queue = new WaitQueue();
    const pingPong = function* (): Routine {
      for (;;) {
        queue.wakeAll();
        now += 50_000;
        yield new Wait([queue]);
      }
    };
    spawn(pingPong);
    spawn(pingPong);
    const hogged = spawn(hog);
    while (now < 1e9 + 1e9) processes.step();
    expect(hogged.cpuNs).toBeGreaterThan(1e8);
  });

  it('counts the time of a process without that of those that run while it waits for a disk', () => {
    const outer = spawn(function* () {
      now += 1e6;
      while (processes.stepNested() === 'progress');
      now += 1e6;
      yield new Wait([], now + 1e12);
      return 0;
    });
    const inner = spawn(function* () {
      now += 5e6;
      yield new Wait([], now + 1e12);
      return 0;
    });
    run();
    expect(outer.cpuNs).toBe(2e6);
    expect(inner.cpuNs).toBe(5e6);
  });

  it('does not run processes inside one another without a bound', () => {
    let deepest = 0;
    let depth = 0;
    for (let n = 0; n < 10; n++)
      spawn(function* () {
        deepest = Math.max(deepest, ++depth);
        while (processes.stepNested() === 'progress');
        depth--;
        yield YIELD;
        return 0;
      });
    run();
    expect(deepest).toBe(3);
    expect(processes.list()).toEqual([]);
  });
});

describe('the end of a process', () => {
  it('leaves a zombie until its parent has its status', () => {
    const parent = spawn(() => forever());
    const child = spawn(
      function* () {
        yield YIELD;
        return 7;
      },
      { parent },
    );
    run();
    expect(child.state).toBe('zombie');
    expect(processes.get(child.pid)).toBe(child);
    expect(exitNumber(processes.reap(child))).toBe(7);
    expect(processes.get(child.pid)).toBeUndefined();
    expect(parent.children.size).toBe(0);
  });

  it('wakes the parent that waits for it', () => {
    const parent = spawn(function* (self) {
      const child = spawn(() => after(new Wait([], now + 5), 'child'), { parent: self });
      while (child.status === undefined) yield new Wait([self.childChanged]);
      say(`reaped ${processes.reap(child).code}`);
      return 0;
    });
    run();
    now += 10;
    run();
    expect(said).toEqual(['child', 'reaped 0']);
    expect(processes.get(parent.pid)).toBeUndefined();
  });

  it('hands its children to init, zombies as well', () => {
    const init = spawn(() => forever());
    processes.init = init;
    const middle = spawn(() => forever(), { parent: init });
    const living = spawn(() => forever(), { parent: middle });
    const dead = spawn(
      function* () {
        yield YIELD;
        return 3;
      },
      { parent: middle },
    );
    run();
    let woken = 0;
    init.childChanged.add(() => woken++);
    processes.kill(middle, 'SIGKILL');
    expect(woken).toBe(1);
    expect(living.parent).toBe(init);
    expect([...init.children].sort((a, b) => a.pid - b.pid)).toEqual([middle, living, dead]);
    expect(processes.reap(dead).code).toBe(3);
  });

  it('closes what it has open, leaves every queue and runs its finally blocks, once', () => {
    const queue = new WaitQueue();
    const closed: string[] = [];
    const process = spawn(
      function* () {
        try {
          return yield* forever(queue);
        } finally {
          closed.push('finally');
        }
      },
      { closeAll: () => closed.push('fds') },
    );
    run();
    expect(queue.isEmpty).toBe(false);
    processes.kill(process, 'SIGTERM');
    processes.kill(process, 'SIGTERM');
    expect(closed).toEqual(['finally', 'fds']);
    expect(queue.isEmpty).toBe(true);
    expect(processes.list()).toEqual([]);
  });

  it('tells who asked for it, and is forgotten when it has no parent', () => {
    let status: ExitStatus | undefined;
    const process = spawn(() => forever(), {
      onEnd: ended => {
        status = ended;
      },
    });
    run();
    processes.kill(process, 'SIGINT');
    expect(exitNumber(status!)).toBe(130);
    expect(processes.get(process.pid)).toBeUndefined();
  });

  it('gives no pid twice while a process or a group has it', () => {
    const first = spawn(() => forever());
    for (let n = 0; n < 33_000; n++) {
      const process = spawn(() => forever());
      if (process.pid === first.pid) throw new Error('the same twice');
      processes.kill(process, 'SIGKILL');
    }
  });

  it('refuses the 1,025th', () => {
    for (let n = 0; n < 1024; n++) spawn(() => forever());
    expect(() => spawn(() => forever())).toThrow(/1024 processes/);
  });
});

describe('signals', () => {
  it('end a process that runs when its call is over', () => {
    const process = spawn(function* (self) {
      processes.kill(self, 'SIGKILL');
      say('still here');
      yield YIELD;
      say('never');
      return 0;
    });
    run();
    expect(said).toEqual(['still here']);
    expect(exitNumber(process.status!)).toBe(137);
  });

  it('stop a process, which goes on after SIGCONT, also when it was woken meanwhile', () => {
    const queue = new WaitQueue();
    const process = spawn(() => after(new Wait([queue]), 'went on'));
    run();
    processes.kill(process, 'SIGTSTP');
    queue.wakeAll();
    run();
    expect([said, process.stopped]).toEqual([[], true]);
    processes.kill(process, 'SIGCONT');
    run();
    expect(said).toEqual(['went on']);
  });

  it('stop a process that is ready, and one that stops itself', () => {
    const hogging = spawn(hog);
    processes.step();
    processes.kill(hogging, 'SIGSTOP');
    expect(processes.step()).toBe('idle');
    const self = spawn(function* (process) {
      processes.kill(process, 'SIGSTOP');
      yield YIELD;
      say('on');
      return 0;
    });
    run();
    expect([self.stopped, said]).toEqual([true, []]);
    processes.kill(self, 'SIGCONT');
    run();
    expect(said).toEqual(['on']);
  });

  it('tell the parent of stops and continuations', () => {
    const parent = spawn(() => forever());
    const child = spawn(() => forever(), { parent });
    run();
    let woken = 0;
    const again = (): void => {
      woken++;
      parent.childChanged.add(again);
    };
    parent.childChanged.add(again);
    for (const signal of ['SIGSTOP', 'SIGSTOP', 'SIGCONT', 'SIGCONT', 'SIGKILL'] as const)
      processes.kill(child, signal);
    expect(woken).toBe(3);
  });

  it('reach a whole group, and end what is stopped', () => {
    const leader = spawn(() => forever());
    const member = spawn(() => forever(), { pgid: leader.pid });
    const other = spawn(() => forever());
    run();
    processes.kill(member, 'SIGSTOP');
    expect(processes.killGroup(leader.pid, 'SIGINT')).toBe(2);
    expect(processes.list()).toEqual([other]);
  });

  it('are taken by who catches them, but SIGKILL', () => {
    const process = spawn(() => forever());
    process.catches = signal => {
      say(signal);
      return true;
    };
    run();
    for (const signal of ['SIGINT', 'SIGTSTP', 'SIGKILL'] as const) processes.kill(process, signal);
    expect(said).toEqual(['SIGINT', 'SIGTSTP']);
    expect(process.state).toBe('zombie');
  });

  it('do not end init', () => {
    const init = spawn(() => forever());
    processes.init = init;
    run();
    processes.kill(init, 'SIGKILL');
    expect(init.state).toBe('waits');
  });
});

describe('a pipe', () => {
  const bytes = (n: number, seed = 0): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 7 + seed) & 0xff);

  it('brings bytes in their order through any sizes of reads and writes', () => {
    const { reader, writer } = new Pipe();
    const sent: number[] = [];
    const got: number[] = [];
    spawn(function* () {
      for (let n = 0; n < 100; n++) {
        const chunk = bytes(1 + ((n * 977) % 9000), n);
        for (let at = 0; at < chunk.length; ) {
          const done = writer.write(chunk.subarray(at));
          if (done instanceof Wait) yield done;
          else at += done;
        }
        sent.push(...chunk);
      }
      writer.release();
      return 0;
    });
    spawn(function* () {
      for (let n = 0; ; n++) {
        const into = new Uint8Array(1 + ((n * 613) % 12_000));
        const done = reader.read(into);
        if (done instanceof Wait) yield done;
        else if (done === 0) return 0;
        else got.push(...into.subarray(0, done));
      }
    });
    run();
    expect(got.length).toBe(sent.length);
    expect(Buffer.from(got).equals(Buffer.from(sent))).toBe(true);
    expect(processes.list()).toEqual([]);
  });

  it('takes 4096 bytes all at once or not yet', () => {
    const { writer, reader } = new Pipe();
    expect(writer.write(bytes(PIPE_SIZE - 100))).toBe(PIPE_SIZE - 100);
    expect(writer.write(bytes(200))).toBeInstanceOf(Wait);
    expect(writer.writable()).toBe(0);
    expect(writer.write(bytes(100))).toBe(100);
    expect(reader.read(new Uint8Array(4096))).toBe(4096);
    expect(writer.write(bytes(10_000))).toBe(4096);
  });

  it('ends where its last writer has gone, after what was written', () => {
    const { reader, writer } = new Pipe();
    writer.retain();
    writer.write(bytes(3));
    writer.release();
    expect(reader.hungUp()).toBe(false);
    writer.release();
    expect([reader.readable(), reader.hungUp()]).toEqual([3, true]);
    expect(reader.read(new Uint8Array(10))).toBe(3);
    expect(reader.read(new Uint8Array(10))).toBe(0);
    expect(reader.readable()).toBe(1);
  });

  it('ends with SIGPIPE who writes what nobody reads, also who waits for room', () => {
    const { reader, writer } = new Pipe();
    const process = spawn(function* () {
      for (;;) {
        const done = writer.write(bytes(4096));
        if (done instanceof Wait) yield done;
      }
    });
    run();
    expect(process.state).toBe('waits');
    reader.release();
    run();
    expect(exitNumber(process.status!)).toBe(141);
  });
});
