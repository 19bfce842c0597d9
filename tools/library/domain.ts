// A domain by its name, whether it is there or not: a reboot gives it another domid, and it is still the same one.

import { fileURLToPath } from 'node:url';
import { type DomainEnd, type DomainInfo, threadFile, XenError } from '#pvbus';
import { DomainConsole } from './domain-console.ts';
import type { LastingClient } from './lasting-client.ts';

/** Keys of xl.cfg, and what a topology has besides. */
export type DomainKeys = Readonly<Record<string, unknown>>;

export class Domain {
  readonly name: string;
  readonly #client: LastingClient;
  readonly #up: (topology: object) => Promise<void>;

  constructor(name: string, client: LastingClient, up: (topology: object) => Promise<void>) {
    this.name = name;
    this.#client = client;
    this.#up = up;
  }

  /** A topology of one domain. */
  create(keys: DomainKeys = {}): Promise<void> {
    const kernel = fileURLToPath(threadFile('domu-kernel', import.meta.url));
    return this.#up({ domains: { [this.name]: 'config' in keys ? keys : { kernel, ...keys } } });
  }
  async domid(): Promise<number> {
    return (await (await this.#client.now()).call('domid', { name: this.name })).domid;
  }
  async info(): Promise<DomainInfo> {
    const [info] = await (await this.#client.now()).call('list', { domid: await this.domid() });
    return info!; // asked for one, the toolstack gives that or fails
  }
  async destroy(): Promise<void> {
    await (await this.#client.now()).call('destroy', { domid: await this.domid(), force: false });
  }
  async shutdown(): Promise<void> {
    await (await this.#client.now()).call('shutdown', { domid: await this.domid() });
  }
  async reboot(): Promise<void> {
    await (await this.#client.now()).call('reboot', { domid: await this.domid() });
  }
  async pause(): Promise<void> {
    await (await this.#client.now()).call('pause', { domid: await this.domid() });
  }
  async unpause(): Promise<void> {
    await (await this.#client.now()).call('unpause', { domid: await this.domid() });
  }
  async wait(until: 'shutdown' | 'destroyed' = 'shutdown'): Promise<DomainEnd> {
    try {
      return await (await this.#client.now()).call('wait', { domid: await this.domid(), until });
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
      return { what: 'destroyed', reason: null, exitCode: null };
    }
  }
  async console(): Promise<DomainConsole> {
    const { path } = await (await this.#client.now()).call('console', { domid: await this.domid() });
    return DomainConsole.open(path);
  }
}
