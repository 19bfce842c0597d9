// A host of one's own: processes that live until `stop`, or until this process ends.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { Cleanup, type DomainInfo, type HostEvent, runPaths } from '#pvbus';
import { hostEvents } from '../host-events.ts';
import { bringUp, makeImages } from '../topology/bring-up.ts';
import { checkHostPorts } from '../topology/host-ports.ts';
import { HostProcess, hostProgram, temporaryHost } from '../topology/host-process.ts';
import { Progress } from '../topology/progress.ts';
import { GRACE_MS } from '../topology/take-down.ts';
import { Domain } from './domain.ts';
import { clients } from './faults.ts';
import { LastingClient } from './lasting-client.ts';
import { LastingXenstore } from './lasting-xenstore.ts';
import { planOf } from './plan.ts';

export interface HostOptions {
  readonly runDir?: string;
  readonly memory?: string;
  readonly log?: (line: string) => void;
}

interface HostParts {
  readonly runDir: string;
  readonly process: HostProcess;
  readonly client: LastingClient;
  readonly xenstore: LastingXenstore;
  readonly log: (line: string) => void;
  /** What is left to remove once it has ended. */
  readonly undo: Cleanup;
}

export class Host implements AsyncDisposable {
  readonly runDir: string;
  readonly xenstore: LastingXenstore;
  readonly #parts: HostParts;
  #stopping: Promise<void> | undefined;

  private constructor(parts: HostParts) {
    this.#parts = parts;
    this.runDir = parts.runDir;
    this.xenstore = parts.xenstore;
    clients.set(this, parts.client);
  }

  static async start({ runDir: given, memory, log = () => {} }: HostOptions = {}): Promise<Host> {
    const undo = new Cleanup();
    const runDir = given === undefined ? mkdtempSync(resolve(tmpdir(), 'xenolith-')) : resolve(given);
    if (given === undefined) undo.add('run directory', () => rmSync(runDir, { recursive: true, force: true }));
    try {
      // Also when this process is killed.
      const named = given === undefined ? temporaryHost() : hostProgram();
      const program = [...named, ...(memory === undefined ? [] : ['--mem', memory])];
      const process = await HostProcess.start(runDir, program, NEVER);
      undo.add('host', () => process.kill());
      const { toolstackSocket, xenstoredSocket } = runPaths(runDir);
      const client = await LastingClient.connect(toolstackSocket);
      const xenstore = await LastingXenstore.connect(xenstoredSocket);
      return new Host({ runDir, process, client, xenstore, log, undo });
    } catch (error) {
      await undo.run();
      throw error;
    }
  }

  async up(topology: string | object): Promise<void> {
    const { log } = this.#parts;
    const client = await this.#parts.client.now();
    const steps = planOf(topology, log);
    const progress = new Progress(log);
    const undo = new Cleanup();
    try {
      await checkHostPorts(steps);
      await makeImages(steps, { progress, undo, signal: NEVER });
      await bringUp(steps, { client, progress, undo, signal: NEVER, graceMs: () => GRACE_MS });
    } catch (error) {
      await undo.run();
      throw error;
    }
  }

  domain(name: string): Domain {
    return new Domain(name, this.#parts.client, topology => this.up(topology));
  }

  async domains(): Promise<DomainInfo[]> {
    return (await this.#parts.client.now()).call('list', { domid: null });
  }

  async events(): Promise<HostEvent[]> {
    return hostEvents(await this.#parts.client.now());
  }

  get pid(): number {
    return this.#parts.process.pid ?? 0; // started, or there would be no Host
  }

  log(): string {
    const { hostLog } = runPaths(this.runDir);
    // order: what goes from this to that meanwhile is in both.
    const newer = readFileSync(hostLog, 'utf8');
    return existsSync(`${hostLog}.1`) ? readFileSync(`${hostLog}.1`, 'utf8') + newer : newer;
  }

  /** Asked for again, it waits for the one that goes on. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    const { client, process, undo } = this.#parts;
    // What does not end by itself is ended; what has ended is not asked.
    const asked = client.now().then(now => now.call('shutdownHost', {}));
    await Promise.race([asked.catch(() => {}), process.ended()]);
    this.xenstore.close();
    client.close();
    await process.stop();
    await undo.run();
  }
}

const NEVER = new AbortController().signal;
