// A host's toolstack for one call at a time: it may have been killed since the last one, and be coming back.
import { type DomainConfig, runPaths, XenError } from '#pvbus';
import { ToolstackClient } from '../../tools/toolstack-client.ts';
import { eventually } from '../support/processes.ts';

export class ToolstackCalls {
  readonly #path: string;

  constructor(runDir: string) {
    this.#path = runPaths(runDir).toolstackSocket;
  }
  async create(config: DomainConfig): Promise<number> {
    return (await this.#with(client => client.call('create', { config, paused: false, monitor: false }))).domid;
  }
  /** One that is gone already is gone. */
  async destroy(domid: number): Promise<void> {
    await this.#with(client => client.call('destroy', { domid, force: true })).catch(error => {
      if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    });
  }
  /** Whichever domains have that name, also those that nobody was told of. */
  async destroyNamed(name: string): Promise<void> {
    const domains = await this.#with(client => client.call('list', { domid: null }));
    for (const domain of domains) if (domain.name === name) await this.destroy(domain.domid);
  }
  async #with<T>(body: (client: ToolstackClient) => Promise<T>): Promise<T> {
    const client = await eventually('the toolstack serves', () =>
      ToolstackClient.connect(this.#path).catch(() => undefined),
    );
    try {
      return await body(client);
    } finally {
      client.close();
    }
  }
}
