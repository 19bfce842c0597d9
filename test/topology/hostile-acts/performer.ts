// A kernel that does the act that is typed at its console, and says what came of it in a line of JSON: the real one's console
// and xenstore client, no driver, and a hand in everything else.
import { attachVcpu, type ControlMessage, crashExit, type Vcpu, type XenstoreClient } from '#pvbus';
import { drive } from '../../../domu-kernel/drive.ts';
import { compileFatFs } from '../../../domu-kernel/fs/fat-core.ts';
import { ffWasm } from '../../../domu-kernel/fs/ff-wasm.ts';
import { Kernel } from '../../../domu-kernel/kernel.ts';

export interface Mallory {
  readonly kernel: Kernel;
  readonly vcpu: Vcpu;
  readonly xs: XenstoreClient;
  readonly home: string;
  /** Its control socket, which no guest has business with. */
  readonly controlFd: number;
  pause(ms: number): Promise<void>;
  /** Look again and again until it holds; throws when it never does. */
  until(what: string, condition: () => unknown): Promise<void>;
  /** The end, told to the log as the reason: of an act that costs the console. */
  lastWords(outcome: Outcome): never;
}
/** What came of an act: the test knows what it must be. */
export type Outcome = Record<string, unknown>;
export type Acts = Readonly<Record<string, (mallory: Mallory, ...args: string[]) => Outcome | Promise<Outcome>>>;

/** What a domain's process is started with. */
export interface Boot {
  readonly controlFd: number;
  readonly boot: ControlMessage;
}

const PATIENCE_MS = 60_000;
/** What an offender does that is told to be idle: it is there, and does nothing. */
const NO_ACTS = new Set(['warm', 'serve']);

export function perform({ controlFd, boot }: Boot, actsOf: (mallory: Mallory) => Acts): void {
  const vcpu = attachVcpu(controlFd, boot);
  process.on('uncaughtException', error => crashExit(vcpu, error));
  process.on('unhandledRejection', error => crashExit(vcpu, error));
  const kernel = new Kernel({ vcpu, fatFs: () => compileFatFs(ffWasm) });
  const { xs, home, console } = kernel;
  const pause = (ms: number): Promise<void> => new Promise(resolve => void kernel.timers.after(ms, resolve));
  const until = async (what: string, condition: () => unknown): Promise<void> => {
    const end = kernel.clock.now() + PATIENCE_MS * 1e6;
    while (!(await condition())) {
      if (kernel.clock.now() > end) throw new Error(`never: ${what}`);
      await pause(1);
    }
  };
  const lastWords = (outcome: Outcome): never =>
    crashExit(vcpu, new Error(`the act is done: ${JSON.stringify(outcome)}`));
  const mallory: Mallory = { kernel, vcpu, xs, home, controlFd, pause, until, lastWords };
  const acts = actsOf(mallory);
  let idle = false;
  const act = async (name: string, args: string[]): Promise<void> => {
    let outcome: Outcome;
    try {
      const wanted = acts[name];
      if (name === 'idle') idle = true;
      else if (wanted === undefined) throw new Error('there is no such act');
      outcome = name === 'idle' || (idle && !NO_ACTS.has(name)) ? {} : await wanted!(mallory, ...args);
    } catch (error) {
      outcome = { failed: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    console.write(`${JSON.stringify(outcome)}\n`);
  };
  const serve = async (): Promise<void> => {
    console.write(`${JSON.stringify({ domid: vcpu.domid })}\n`);
    for (;;) {
      const line = ((await console.readLine()) ?? '').trim();
      // The name of an act, such as 'honest disk'; behind a colon, what it is told.
      const [name = '', args = ''] = line.split(':');
      await act(name, args.split(' ').filter(Boolean));
    }
  };
  void serve();
  drive(kernel, error => crashExit(vcpu, error));
}
