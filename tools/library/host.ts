// A host of one's own: processes that live until `stop`, or until this process ends.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Cleanup, type DomainInfo, runPaths, socketTransport, XenstoreClient } from '#pvbus';
import { ToolstackClient } from '../toolstack-client.ts';
import { bringUp, makeImages } from '../topology/bring-up.ts';
import { checkHostPorts } from '../topology/host-ports.ts';
import { HOST_PROGRAM, HostProcess } from '../topology/host-process.ts';
import { Progress } from '../topology/progress.ts';
import { GRACE_MS } from '../topology/take-down.ts';
import { Domain } from './domain.ts';
import { planOf } from './plan.ts';

export interface HostOptions {
  readonly runDir?: string;
  readonly memory?: string;
  readonly log?: (line: string) => void;
}

interface HostParts {
  readonly runDir: string;
  readonly process: HostProcess;
  readonly client: ToolstackClient;
  readonly xenstore: XenstoreClient;
  readonly log: (line: string) => void;
  /** What is left to remove once it has ended. */
  readonly undo: Cleanup;
}

export class Host implements AsyncDisposable {
  readonly runDir: string;
  readonly xenstore: XenstoreClient;
  readonly #parts: HostParts;
  #stopping: Promise<void> | undefined;

  private constructor(parts: HostParts) {
    this.#parts = parts;
    this.runDir = parts.runDir;
    this.xenstore = parts.xenstore;
  }

  static async start({ runDir: given, memory, log = () => {} }: HostOptions = {}): Promise<Host> {
    const undo = new Cleanup();
    const runDir = given === undefined ? mkdtempSync(join(tmpdir(), 'xenolith-')) : resolve(given);
    if (given === undefined) undo.add('run directory', () => rmSync(runDir, { recursive: true, force: true }));
    try {
      const program = memory === undefined ? HOST_PROGRAM : [...HOST_PROGRAM, '--mem', memory];
      const process = await HostProcess.start(runDir, program, NEVER);
      undo.add('host', () => process.kill());
      const { toolstackSocket, xenstoredSocket } = runPaths(runDir);
      const client = await ToolstackClient.connect(toolstackSocket);
      const xenstore = new XenstoreClient(await socketTransport(xenstoredSocket));
      return new Host({ runDir, process, client, xenstore, log, undo });
    } catch (error) {
      await undo.run();
      throw error;
    }
  }

  async up(topology: string | object): Promise<void> {
    const { client, log } = this.#parts;
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

  domains(): Promise<DomainInfo[]> {
    return this.#parts.client.call('list', { domid: null });
  }

  log(): string {
    return readFileSync(runPaths(this.runDir).hostLog, 'utf8');
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
    await client.call('shutdownHost', {}).catch(() => {}); // what does not end by itself is ended
    this.xenstore.close();
    client.close();
    await process.stop();
    await undo.run();
  }
}

const NEVER = new AbortController().signal;
