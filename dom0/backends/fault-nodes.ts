// Faults of a device in xenstore, below its backend's directory: `faults/<plan>@<fault>`, which the toolstack writes, and
// `injected/<plan>@<fault>`, where the backend says what has come of it. So they are the device's, whoever serves it.
import {
  type Injected,
  type Log,
  type Planted,
  plantedName,
  readKey,
  readPlanted,
  type TriggerCounts,
  XenError,
  type XenstoreClient,
} from '#pvbus';

/** What `injected/...` holds, as JSON. */
export interface InjectedNode extends TriggerCounts {
  /** The last occurrences that were befallen, in their order. */
  readonly last: readonly number[];
  readonly where: string;
  /** What was asked for last, and at which of the injections. */
  readonly process?: NonNullable<Injected['process']> & { readonly injection: number };
}

/** A node may hold 4096 bytes. */
const MAX_LAST = 200;

export class FaultNodes {
  readonly #xs: XenstoreClient;
  readonly #path: string;
  readonly #log: Log;
  readonly #told = new Map<string, InjectedNode>();
  /** Nodes that are older than what was told. */
  readonly #stale = new Set<string>();
  #writing: Promise<void> | undefined;

  constructor(xs: XenstoreClient, path: string, log: Log) {
    this.#xs = xs;
    this.#path = path;
    this.#log = log;
  }

  /** In the order of their names. One that cannot be read is left out and logged. */
  async read(): Promise<Planted[]> {
    const names = await this.#xs.directory(`${this.#path}/faults`).catch((error): string[] => {
      if (error instanceof XenError && ['ENOENT', 'EACCES'].includes(error.code)) return [];
      throw error;
    });
    for (const name of this.#told.keys()) if (!names.includes(name)) this.#told.delete(name);
    const found = await Promise.all(names.sort().map(name => this.#readOne(name)));
    return found.filter(one => one !== undefined).sort((a, b) => a.order - b.order);
  }
  async #readOne(name: string): Promise<(Planted & { order: number }) | undefined> {
    const text = await readKey(this.#xs, `${this.#path}/faults/${name}`);
    if (text === undefined) return undefined; // removed meanwhile
    try {
      const planted = readPlanted(text);
      const before = await this.#counts(name);
      const { order } = JSON.parse(text) as { order?: number };
      return { ...planted, ...(before && { counts: before }), order: order ?? 0 };
    } catch (error) {
      this.#log.error(`${this.#path}/faults/${name}: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  }
  /** Of a backend before this one. */
  async #counts(name: string): Promise<TriggerCounts | undefined> {
    const text = await readKey(this.#xs, `${this.#path}/injected/${name}`);
    if (text === undefined) return undefined;
    const { seen, injected, ...rest } = JSON.parse(text) as InjectedNode;
    if (!this.#told.has(name)) this.#told.set(name, { ...rest, seen, injected });
    return { seen, injected };
  }

  /** Told by the worker. What it asks for is known to others once it is written. */
  told({ plan, fault, counts, occurrences, where, process }: Injected): void {
    const name = plantedName({ plan, fault: { name: fault } });
    const before = this.#told.get(name);
    const asked = process === undefined ? before?.process : { ...process, injection: counts.injected };
    const last = [...(before?.last ?? []), ...occurrences].slice(-MAX_LAST);
    this.#told.set(name, { ...counts, last, where, ...(asked && { process: asked }) });
    this.#stale.add(name);
    this.#writing ??= this.#write();
  }
  /** Resolves when all that was told is known to others. */
  async written(): Promise<void> {
    await this.#writing;
  }
  async #write(): Promise<void> {
    try {
      while (this.#stale.size > 0) {
        const names = [...this.#stale];
        this.#stale.clear();
        // Together: who hears that the process is to end may end it at once, with whatever is not written by then.
        await this.#xs.transaction(async tx => {
          for (const name of names) await this.#writeOne(name, tx);
        });
      }
    } catch (error) {
      this.#log.error(`${this.#path}/injected: ${error instanceof Error ? error.message : error}`);
    } finally {
      this.#writing = undefined;
    }
  }
  async #writeOne(name: string, tx: number): Promise<void> {
    // A device that was unplugged meanwhile must not come back as this node alone.
    if ((await readKey(this.#xs, `${this.#path}/faults/${name}`, tx)) === undefined) return;
    await this.#xs.write(`${this.#path}/injected/${name}`, JSON.stringify(this.#told.get(name)), tx);
  }
}
