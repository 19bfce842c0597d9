// What a benchmark's own small kernel needs: its vCPU, and commands that come over the console and are
// answered there, one line of JSON each.
import {
  attachVcpu,
  type ControlMessage,
  consoleRing,
  domain_control,
  getU64,
  monotonicNow,
  PAGE_SIZE,
  port,
  start_info,
  start_info_console,
  start_info_console_domU,
  type Vcpu,
} from '#pvbus';

export interface Boot {
  readonly controlFd: number;
  readonly boot: ControlMessage;
}
/** A command: its words after the name, as numbers or text, to what it measured. */
export type Commands = Readonly<Record<string, (...words: string[]) => Record<string, number>>>;

/** How the vCPU waits between commands. */
export interface Loop {
  /** Never sleep. */
  spin: boolean;
}

/** Boot, then serve commands for ever. `commands` is made once the vCPU is there. */
export function serve({ controlFd, boot }: Boot, commands: (vcpu: Vcpu, loop: Loop) => Commands): void {
  const vcpu = attachVcpu(controlFd, boot);
  const { view } = vcpu.memory;
  const info = getU64(view, vcpu.layout.control * PAGE_SIZE + domain_control.at.start_info);
  const domU = info + start_info.at.console + start_info_console.at.domU;
  const { reader, writer } = consoleRing(
    vcpu.memory.page(getU64(view, domU + start_info_console_domU.at.mfn)),
    'front',
  );
  const consolePort = port(view.getUint32(domU + start_info_console_domU.at.evtchn, true));
  const loop: Loop = { spin: false };
  const known = commands(vcpu, loop);
  const print = (result: Record<string, number>): void => {
    let left: Uint8Array = new TextEncoder().encode(`${JSON.stringify(result)}\n`);
    while (left.length > 0) {
      left = left.subarray(Math.max(0, writer.write(left)));
      vcpu.events.notify(consolePort);
    }
  };
  const input = new Uint8Array(1024);
  let line = '';
  let asked = false;
  const read = (): void => {
    const got = reader.read(input);
    if (got <= 0) return;
    vcpu.events.notify(consolePort);
    line += new TextDecoder().decode(input.subarray(0, got));
    asked = line.includes('\n');
  };
  vcpu.events.on(consolePort, read);
  print({ domid: vcpu.domid });
  // A function of its own: what is compiled for it holds however often a command is carried out.
  const wait = (): void => {
    while (!asked) if (!vcpu.events.poll() && !loop.spin && !asked) vcpu.block();
  };
  for (;;) {
    wait();
    const end = line.indexOf('\n');
    const [name = '', ...words] = line.slice(0, end).split(' ');
    line = line.slice(end + 1);
    asked = line.includes('\n');
    print(known[name]!(...words));
  }
}

/** Rounds before those that count. */
const WARM_UP = 2000;

/** ns: of `batch` calls of `body` at a time, one's share. The clock's own time is taken off. */
export function each(rounds: number, batch: number, body: () => void): { p50: number; p99: number } {
  const samples = new Float64Array(rounds);
  const sample = (of: () => void): number => {
    const from = monotonicNow();
    for (let i = 0; i < batch; i++) of();
    return monotonicNow() - from;
  };
  const nothing = (): void => {};
  for (let i = 0; i < WARM_UP; i++) sample(nothing);
  const bare = new Float64Array(WARM_UP).map(() => sample(nothing)).sort()[WARM_UP / 2]!;
  for (let i = 0; i < WARM_UP; i++) sample(body);
  for (let i = 0; i < rounds; i++) samples[i] = Math.max(0, sample(body) - bare) / batch;
  samples.sort();
  return { p50: samples[Math.floor(rounds / 2)]!, p99: samples[Math.floor(rounds * 0.99)]! };
}
