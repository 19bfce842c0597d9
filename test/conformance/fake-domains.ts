// Domains for Debian's daemons: pages in files, which fake-hypervisor.c shows them as a hypervisor would.
import { closeSync, constants, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { mapShared, PAGE_SIZE, type Page, pageAt, viewOf } from '#pvbus';
import { eventually } from '../support/processes.ts';

/** XEN_DOMINF_shutdown */
const SHUTDOWN = 4;
const VIRQ_PORT = 1;
const FIRST_PORT = 100;

export class FakeDomains {
  readonly #folder: string;
  readonly #events: number;
  readonly #states = new Map<number, Page>();
  #sent = 0;

  /** `folder`: that of a running RealXenstored. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#events = openSync(join(folder, 'events'), constants.O_RDWR);
  }

  /** A new domain's xenstore page. */
  create(id: number): Page {
    const path = this.#path(id);
    rmSync(path, { force: true });
    writeFileSync(path, new Uint8Array(2 * PAGE_SIZE));
    const fd = openSync(path, 'r+');
    const buffer = viewOf(mapShared(fd, 2 * PAGE_SIZE), 2 * PAGE_SIZE); // mapped for as long as this process
    closeSync(fd);
    this.#states.set(id, pageAt(buffer, PAGE_SIZE));
    return pageAt(buffer, 0);
  }

  shutDown(id: number, reason: number): Promise<void> {
    const state = this.#states.get(id);
    if (!state) throw new Error(`no dom${id}`);
    state.view.setUint32(4, reason, true);
    state.view.setUint32(0, SHUTDOWN, true);
    return this.#tell(VIRQ_PORT);
  }

  destroy(id: number): Promise<void> {
    this.vanish(id);
    return this.#tell(VIRQ_PORT);
  }

  /** It is gone, and the daemon has not been told yet. */
  vanish(id: number): void {
    this.#states.delete(id);
    rmSync(this.#path(id), { force: true });
  }

  /** Domain `id` signals its event channel. */
  notify(id: number): void {
    this.#send(FIRST_PORT + id);
  }

  close(): void {
    closeSync(this.#events);
  }

  /** Signal, and wait until the daemon has begun to act upon it: what it is asked afterwards comes after that. */
  async #tell(port: number): Promise<void> {
    this.#send(port);
    await eventually('the daemon takes its events', () => {
      return readFileSync(join(this.#folder, 'handled')).readUInt32LE(0) >= this.#sent;
    });
  }

  #send(port: number): void {
    writeSync(this.#events, new Uint8Array(new Uint32Array([port]).buffer));
    this.#sent++;
  }

  #path(id: number): string {
    return join(this.#folder, `dom${id}`);
  }
}
