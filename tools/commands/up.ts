// xl up

import { Cleanup, runDir, runPaths, type ToolstackEvent, XenError } from '#pvbus';
import { scriptParents, watchParents } from '../parent-watch.ts';
import { ToolstackClient } from '../toolstack-client.ts';
import { bringUp, makeImages } from '../topology/bring-up.ts';
import { forgetOwner, noteOwner } from '../topology/host-owner.ts';
import { checkHostPorts } from '../topology/host-ports.ts';
import { HOST_PROGRAM, HostProcess } from '../topology/host-process.ts';
import { describeStep } from '../topology/plan.ts';
import { Progress } from '../topology/progress.ts';
import { GRACE_MS } from '../topology/take-down.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { domainTable } from './list.ts';
import { loadPlan, type Plan } from './load-plan.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = (args, context) => up(args, context, HOST_PROGRAM);

/** `hostProgram` is what runs as the host where none does. */
export async function up(
  args: readonly string[],
  context: CommandContext,
  hostProgram: readonly string[],
): Promise<number> {
  const long = [
    { name: 'dryrun', as: 'n' },
    { name: 'quiet', as: 'q' },
  ];
  const line = commandLine(args, context, 'nq', long, 1);
  if (typeof line === 'number') return line;
  const plan = loadPlan(line.args[0]!, context);
  if (context.global.dryRun || line.options.has('n')) {
    for (const step of plan.steps) context.out(describeStep(step));
    return 0;
  }
  const quiet = line.options.has('q');
  return new Up(plan, context, hostProgram, quiet).run();
}

/** Exit codes of a process that a signal ended. */
const SIGNAL_EXIT: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

class Up {
  readonly #plan: Plan;
  readonly #context: CommandContext;
  readonly #hostProgram: readonly string[];
  readonly #progress: Progress;
  readonly #quiet: boolean;
  readonly #undo = new Cleanup();
  readonly #undoImages = new Cleanup();
  readonly #orphaned = new AbortController();
  #host: HostProcess | null = null;
  /** What ends from now on ends because of us, and is told as such. */
  #goingDown = false;

  constructor(plan: Plan, context: CommandContext, hostProgram: readonly string[], quiet: boolean) {
    this.#plan = plan;
    this.#context = context;
    this.#hostProgram = hostProgram;
    this.#quiet = quiet;
    this.#progress = new Progress(line => {
      if (!quiet) context.out(line);
    });
  }

  async run(): Promise<number> {
    const { io } = this.#context;
    const signal = AbortSignal.any([io.interrupted(), this.#orphaned.signal]);
    const stopWatching = watchParents(scriptParents(io.env), () => this.#orphaned.abort('SIGHUP'));
    try {
      const client = await this.#bringUp(signal);
      if (this.#host === null) {
        this.#undo.disarm(); // the host was there before us, and will be after us
        return 0;
      }
      return await this.#stay(this.#host, client, signal);
    } catch (error) {
      const ended = this.#host !== null && !signal.aborted ? await this.#host.hasEnded() : null;
      await this.#takeDown(ended !== null);
      if (ended !== null) throw this.#hostEnded(ended);
      if (signal.aborted) {
        this.#context.err('interrupted; everything was taken down');
        return SIGNAL_EXIT[String(signal.reason)] ?? 1;
      }
      if (error instanceof XenError) throw new CommandFailure(`xl: ${error.message}`);
      throw error;
    } finally {
      stopWatching();
    }
  }

  async #bringUp(signal: AbortSignal): Promise<ToolstackClient> {
    const { steps, topology } = this.#plan;
    const { out, io } = this.#context;
    await checkHostPorts(steps);
    const progress = this.#progress;
    await makeImages(steps, { progress, undo: this.#undoImages, signal });
    const client = await this.#findHost(signal);
    const graceMs = (): number => (this.#orphaned.signal.aborted ? 0 : GRACE_MS);
    await bringUp(steps, { client, progress, undo: this.#undo, signal, graceMs });
    this.#undoImages.disarm(); // what the domains write to them from now on is worth keeping
    if (this.#quiet) return client;
    io.stdout.write(`\n${domainTable(await client.call('list', { domid: null }))}`);
    if (topology.hints.length > 0) out('');
    for (const hint of topology.hints) out('url' in hint ? `url  ${hint.url}` : `try  ${hint.try}`);
    return client;
  }

  async #findHost(signal: AbortSignal): Promise<ToolstackClient> {
    const dir = runDir(this.#context.io.env);
    try {
      return await this.#context.connect();
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    }
    const host = await this.#progress.phase(`host on ${dir}`, () => HostProcess.start(dir, this.#hostProgram, signal));
    this.#host = host;
    this.#undo.add('host', () => host.kill());
    noteOwner(dir, this.#plan.path);
    this.#undo.add('note of the owner', () => forgetOwner(dir));
    const client = await ToolstackClient.connect(runPaths(dir).toolstackSocket);
    this.#undo.add('host', async () => {
      await client.call('shutdownHost', {}).catch(() => {}); // what does not end by itself is ended
      client.close();
      await host.stop();
    });
    return client;
  }

  /** Until interrupted, or until the host ends for another reason: `xl down`, a crash. */
  async #stay(host: HostProcess, client: ToolstackClient, signal: AbortSignal): Promise<number> {
    if (!this.#quiet) {
      this.#context.out('\nCtrl-C ends it.');
      await this.#reportEvents(client);
    }
    const interrupted = new Promise<'interrupted'>(resolve => {
      if (signal.aborted) resolve('interrupted');
      signal.addEventListener('abort', () => resolve('interrupted'), { once: true });
    });
    const why = await Promise.race([interrupted, host.ended()]);
    if (why === 'interrupted') {
      if (!this.#quiet) this.#context.out('');
      await this.#takeDown(false);
      return 0;
    }
    client.close();
    forgetOwner(host.runDir);
    if (why === 'exit code 0') return 0;
    throw this.#hostEnded(why);
  }

  #hostEnded(how: string): CommandFailure {
    const { hostLog } = runPaths(runDir(this.#context.io.env));
    return new CommandFailure(`the host ended by itself: ${how} (more in ${hostLog})`);
  }

  async #reportEvents(client: ToolstackClient): Promise<void> {
    const reasons = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft reset'];
    const tell = (event: ToolstackEvent): void => {
      if (event.event !== 'domain' || this.#goingDown) return;
      const { what, name, domid, reason } = event;
      const did = {
        created: 'is there',
        shutdown: `has shut down: ${reasons[reason ?? -1] ?? reason}`,
        destroyed: 'is gone',
      };
      this.#context.out(`${name ?? '(null)'}, domain ${domid}, ${did[what]}`);
    };
    await client.call('subscribe', {}, tell);
  }

  /** `hostIsGone`: its domains and bridges went with it. */
  async #takeDown(hostIsGone: boolean): Promise<void> {
    const host = this.#host;
    this.#goingDown = true;
    // Nobody is left to be polite for, and two seconds are all there is.
    if (host !== null && (hostIsGone || this.#orphaned.signal.aborted)) {
      await host.kill();
      forgetOwner(host.runDir);
      this.#undo.disarm();
    }
    for (const undo of [this.#undo, this.#undoImages]) {
      await undo.run().catch((error: Error) => this.#context.err(`xl: ${error.message}`));
    }
  }
}
