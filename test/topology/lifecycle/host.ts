// A real host and a tool's connection to it, with what these tests ask of both.
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import {
  type DomainConfig,
  type DomainEvent,
  type DomainInfo,
  runPaths,
  socketTransport,
  type ToolstackEvent,
  XenstoreClient,
} from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { dist, type HostOptions, HostRig } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';
import { domainConfig } from '../../unit/dom0/toolstack/domain-config.ts';

export const KERNEL = dist('domu-kernel.js');
export const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));

export class LifecycleHost {
  readonly rig: HostRig;
  readonly toolstack: ToolstackClient;
  readonly xs: XenstoreClient;
  readonly events: DomainEvent[] = [];
  #ending = false;

  private constructor(rig: HostRig, toolstack: ToolstackClient, xs: XenstoreClient) {
    this.rig = rig;
    this.toolstack = toolstack;
    this.xs = xs;
  }
  static async start(options: HostOptions = {}): Promise<LifecycleHost> {
    const rig = await HostRig.start(options);
    const paths = runPaths(rig.runDir);
    const host = new LifecycleHost(
      rig,
      await ToolstackClient.connect(paths.toolstackSocket),
      new XenstoreClient(await socketTransport(paths.xenstoredSocket)),
    );
    // A host that dies in a test takes its log with it; here is what it said last.
    host.toolstack.onClose(reason => {
      if (!host.#ending) console.error(`${reason.message}; the host's log ends:\n${rig.log().slice(-4000)}`);
    });
    await host.toolstack.call('subscribe', {}, (event: ToolstackEvent) => {
      if (event.event === 'domain') host.events.push(event);
    });
    return host;
  }
  /** The host is expected to end by itself. */
  ending(): void {
    this.#ending = true;
  }
  async stop(): Promise<void> {
    this.ending();
    this.toolstack.close();
    this.xs.close();
    await this.rig.stop();
  }

  /** A config of the tests' guest; `doing` says what it does. */
  config(name: string, doing: string, over: Partial<DomainConfig> = {}): DomainConfig {
    return domainConfig({
      name,
      uuid: randomUUID(),
      memory: 16,
      kernel: KERNEL,
      ramdisk: GUEST,
      cmdline: `doing=${doing}`,
      source: `${name}.cfg`,
      ...over,
    });
  }
  async create(config: DomainConfig, options: { paused?: boolean; monitor?: boolean } = {}): Promise<number> {
    const { paused = false, monitor = true } = options;
    return (await this.toolstack.call('create', { config, paused, monitor })).domid;
  }
  /** Its guest's first words are on the console. */
  async up(name: string, times = 1): Promise<void> {
    await eventually(
      `${name} is up`,
      () => this.rig.consoleLog(name).split(`${name} is up as dom`).length - 1 >= times,
    ).catch(error => {
      throw new Error(`${error.message}\n${this.rig.log()}\n${this.rig.consoleLog(name)}`);
    });
  }
  async destroy(domid: number): Promise<void> {
    await this.toolstack.call('destroy', { domid, force: false });
  }
  async list(): Promise<DomainInfo[]> {
    return this.toolstack.call('list', { domid: null });
  }
  async info(domid: number): Promise<DomainInfo | undefined> {
    return (await this.list()).find(info => info.domid === domid);
  }
  /** The line of the host's log in which all of `words` are. */
  async logged(...words: string[]): Promise<string> {
    const find = (): string | undefined =>
      this.rig
        .log()
        .split('\n')
        .find(line => words.every(word => line.includes(word)));
    return (await eventually(`the log says ${words.join(' … ')}`, find))!;
  }

  /** Every path of the xenstore. */
  async nodes(path = '/'): Promise<string[]> {
    const children = await this.xs.directory(path);
    const below = await Promise.all(children.map(name => this.nodes(path === '/' ? `/${name}` : `${path}/${name}`)));
    return path === '/' ? below.flat() : [path, ...below.flat()];
  }
}
