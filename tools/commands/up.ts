// xl up

import { existsSync } from 'node:fs';
import { Cleanup, runDir, runPaths, type ToolstackEvent, XenError } from '#pvbus';
import { LastingClient } from '../library/lasting-client.ts';
import { scriptParents, watchParents } from '../parent-watch.ts';
import { onHost, spelled } from '../spelling.ts';
import type { ToolstackCalls, ToolstackClient } from '../toolstack-client.ts';
import { bringUp, makeImages } from '../topology/bring-up.ts';
import { forgetOwner, noteOwner } from '../topology/host-owner.ts';
import { checkHostPorts } from '../topology/host-ports.ts';
import { HostProcess, hostProgram } from '../topology/host-process.ts';
import { describeStep, type ImageStep } from '../topology/plan.ts';
import { type Progress, progressOn } from '../topology/progress.ts';
import {
  changeLive,
  type DomainAction,
  describeChanges,
  describePlan,
  NOTHING_RUNS,
  type Reconciliation,
  reconcile,
} from '../topology/reconcile.ts';
import { endDomains, GRACE_MS } from '../topology/take-down.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { domainTable } from './list.ts';
import { loadPlan, type Plan } from './load-plan.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = (args, context) => up(args, context, hostProgram());

/** `program` is what runs as the host where none does. */
export async function up(
  args: readonly string[],
  context: CommandContext,
  program: readonly string[],
): Promise<number> {
  const long = [
    { name: 'dryrun', as: 'n' },
    { name: 'dry-run', as: 'n' },
    { name: 'recreate', as: 'recreate' },
    { name: 'quiet', as: 'q' },
  ];
  const line = commandLine(args, context, 'nq', long, 1);
  if (typeof line === 'number') return line;
  const plan = loadPlan(line.args[0]!, context);
  const recreate = line.options.has('recreate');
  const twin = loadPlan(line.args[0]!, { ...context, err: () => {} }).steps;
  if (context.global.dryRun || line.options.has('n')) return dryRun(plan, twin, context, recreate);
  return new Up(plan, twin, context, program, { quiet: line.options.has('q'), recreate }).run();
}

/** The host that runs; null when none does. */
async function runningHost(context: CommandContext): Promise<ToolstackClient | null> {
  try {
    return await context.connect();
  } catch (error) {
    if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    return null;
  }
}

async function dryRun(plan: Plan, twin: Plan['steps'], context: CommandContext, recreate: boolean): Promise<number> {
  const { steps, path } = plan;
  const client = await runningHost(context);
  const todo = client === null ? NOTHING_RUNS(steps) : await reconcile(client, path, steps, twin);
  const newHost = client === null ? runDir(context.io.env) : null;
  const inUse = imagesInUse(todo);
  const image = (step: ImageStep): boolean => inUse.has(step.path) || (!step.recreate && existsSync(step.path));
  const lines = describePlan(steps, todo, { newHost, image }, recreate);
  for (const line of lines) context.out(line);
  const changes = lines.filter(line => !line.startsWith('=')).length;
  context.out(changes === 0 ? '\nNothing would change.' : `\n${changes} of ${lines.length} would change.`);
  return 0;
}

/** Paths of the disks of domains that run. */
const imagesInUse = ({ running }: Reconciliation): Set<string> =>
  new Set([...running.values()].flatMap(config => config?.disks.map(({ target }) => target) ?? []));

interface UpOptions {
  readonly quiet: boolean;
  /** What cannot be changed while it runs is made anew. */
  readonly recreate: boolean;
}

/** Exit codes of a process that a signal ended. */
const SIGNAL_EXIT: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

class Up {
  readonly #plan: Plan;
  readonly #context: CommandContext;
  readonly #hostProgram: readonly string[];
  readonly #progress: Progress;
  readonly #twin: Plan['steps'];
  readonly #quiet: boolean;
  readonly #recreate: boolean;
  readonly #undo = new Cleanup();
  readonly #undoImages = new Cleanup();
  readonly #orphaned = new AbortController();
  #host: HostProcess | null = null;
  /** Of a host that is ours. */
  #toolstack: LastingClient | undefined;
  /** Domains that are not what the file says, and why. */
  #unmet: string[] = [];
  /** What ends from now on ends because of us, and is told as such. */
  #goingDown = false;

  constructor(
    plan: Plan,
    twin: Plan['steps'],
    context: CommandContext,
    hostProgram: readonly string[],
    { quiet, recreate }: UpOptions,
  ) {
    this.#plan = plan;
    this.#twin = twin;
    this.#context = context;
    this.#hostProgram = hostProgram;
    this.#quiet = quiet;
    this.#recreate = recreate;
    this.#progress = progressOn(context.io.stdout, quiet);
  }

  async run(): Promise<number> {
    const { io } = this.#context;
    const signal = AbortSignal.any([io.interrupted(), this.#orphaned.signal]);
    const stopWatching = watchParents(scriptParents(io.env), () => this.#orphaned.abort('SIGHUP'));
    try {
      await this.#bringUp(signal);
      if (this.#host === null) {
        this.#undo.disarm(); // the host was there before us, and will be after us
        return this.#unmet.length === 0 ? 0 : this.#complain();
      }
      return await this.#stay(this.#host, this.#toolstack!, signal);
    } catch (error) {
      const ended = this.#host !== null && !signal.aborted ? await this.#host.hasEnded() : null;
      await this.#takeDown(ended !== null);
      if (ended !== null) throw hostEnded(this.#host!, ended);
      if (signal.aborted) {
        this.#context.err('interrupted; everything was taken down');
        return SIGNAL_EXIT[String(signal.reason)] ?? 1;
      }
      if (error instanceof XenError) throw new CommandFailure(`xl: ${error.message}`);
      throw error;
    } finally {
      this.#toolstack?.close(); // it would wait for another dom0
      stopWatching();
    }
  }

  async #bringUp(signal: AbortSignal): Promise<ToolstackCalls> {
    const { steps, topology } = this.#plan;
    const { out, io } = this.#context;
    const progress = this.#progress;
    const running = await runningHost(this.#context);
    const todo = running === null ? NOTHING_RUNS(steps) : await reconcile(running, this.#plan.path, steps, this.#twin);
    const isNew = (action: DomainAction): boolean =>
      action.kind === 'make' || (action.kind === 'change' && action.rest.length > 0 && this.#recreate);
    const going = todo.domains.filter(action => action.kind === 'end' || (action.kind === 'change' && isNew(action)));
    const endings = going.map(nameOfAction);
    const fresh = new Set(todo.domains.filter(isNew).map(nameOfAction));
    const missing = steps.filter(step => step.kind !== 'domain' || fresh.has(step.config.name));
    await checkHostPorts(missing, portsOf(todo, endings));
    const inUse = imagesInUse(todo);
    const images = missing.map(step =>
      step.kind === 'image' && inUse.has(step.path) ? { ...step, recreate: false } : step,
    );
    await makeImages(images, { progress, undo: this.#undoImages, signal });
    const client = running ?? (await this.#startHost(signal));
    const graceMs = (): number => (this.#orphaned.signal.aborted ? 0 : GRACE_MS);
    const levels = new Map(steps.flatMap(step => (step.kind === 'domain' ? [[step.config.name, step.level]] : [])));
    const toEnd = endings.map(name => ({ name, level: levels.get(name) ?? 0 }));
    await endDomains(client, toEnd, progress, GRACE_MS);
    for (const action of todo.domains) if (!isNew(action)) await this.#adjust(client, action);
    await bringUp(missing, { client, progress, undo: this.#undo, signal, graceMs });
    await client.call('noteTopology', { path: this.#plan.path, domains: todo.domains.flatMap(noteOf(isNew)) });
    this.#undoImages.disarm(); // what the domains write to them from now on is worth keeping
    if (this.#quiet) return client;
    io.stdout.write(`\n${domainTable(await client.call('list', { domid: null }))}`);
    const { hints } = topology;
    if (hints.length > 0) out('');
    const xl = onHost(io.xl, io.env);
    for (const hint of hints) out('url' in hint ? `url  ${hint.url}` : `try  ${spelled(hint.try, xl)}`);
    return client;
  }

  /** A domain that stays becomes what the file says, as far as that goes while it runs. */
  async #adjust(client: ToolstackCalls, action: DomainAction): Promise<void> {
    if (action.kind === 'keep') await this.#progress.phase(`${describeStep(action.step)}: as it is`, async () => {});
    if (action.kind !== 'change') return;
    const { step, domid, changes, rest } = action;
    const { name } = step.config;
    if (changes.length > 0)
      await this.#progress.phase(`domain ${name}: ${describeChanges(changes)}`, () =>
        changeLive(client, domid, changes),
      );
    if (rest.length > 0) this.#unmet.push(`domain ${name} needs --recreate: ${rest.join(', ')}`);
  }

  #complain(): number {
    for (const line of this.#unmet) this.#context.err(`xl up: ${line}`);
    return 1;
  }

  async #startHost(signal: AbortSignal): Promise<ToolstackCalls> {
    const dir = runDir(this.#context.io.env);
    const host = await this.#progress.phase(`host on ${dir}`, () => HostProcess.start(dir, this.#hostProgram, signal));
    this.#host = host;
    this.#undo.add('host', () => host.kill());
    noteOwner(dir, this.#plan.path);
    this.#undo.add('note of the owner', () => forgetOwner(dir));
    // dom0's process may be another one by the time that all of this ends.
    const client = await LastingClient.connect(runPaths(dir).toolstackSocket);
    this.#toolstack = client;
    this.#undo.add('host', async () => {
      await client.call('shutdownHost', {}).catch(() => {}); // what does not end by itself is ended
      client.close();
      await host.stop();
    });
    return client;
  }

  /** Until interrupted, or until the host ends for another reason: `xl down`, a crash. */
  async #stay(host: HostProcess, client: LastingClient, signal: AbortSignal): Promise<number> {
    if (!this.#quiet) {
      this.#context.out('\nCtrl-C ends it.');
      void this.#reportEvents(client);
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
    throw hostEnded(host, why);
  }

  /** Of each dom0 there is, one after the other. */
  async #reportEvents(client: LastingClient): Promise<void> {
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
    try {
      for (;;) {
        const now = await client.now();
        await now.call('subscribe', {}, tell).catch(() => {}); // it has just ended
        await new Promise<void>(resolve => now.onClose(() => resolve()));
      }
    } catch {
      // The host has ended, which is told elsewhere.
    }
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

const hostEnded = (host: HostProcess, how: string): CommandFailure =>
  new CommandFailure(`the host ended by itself: ${how}${host.more}`);
const nameOfAction = (action: DomainAction): string => (action.kind === 'end' ? action.name : action.step.config.name);

/** Host ports that end with these domains. */
const portsOf = ({ running }: Reconciliation, names: readonly string[]): Set<number> =>
  new Set(names.flatMap(name => running.get(name)?.pvcalls.flatMap(({ listen }) => listen.map(one => one.host)) ?? []));

const noteOf = (isNew: (action: DomainAction) => boolean) => (action: DomainAction) => {
  if (action.kind === 'end') return [];
  const { name, uuid } = action.step.config;
  return [{ name, uuid: action.kind === 'make' || isNew(action) ? uuid : action.uuid }];
};
