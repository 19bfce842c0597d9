// Domains that come and go on a server that nobody sees: the engine compiles code when it has run, and gives it up
// when something new comes along; the first domains of a host are not to wait for either.
import {
  domid as asDomid,
  port as asPort,
  type Clock,
  type Domid,
  type EvtchnPort,
  type Log,
  type Page,
  privatePage,
  RingTransport,
  XS_DIRECTORY,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_READ,
  XS_RELEASE,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WRITE,
  xenstoreFrame,
} from '#pvbus';
import type { DomainDoor } from './domains.ts';
import { Journal } from './journal.ts';
import { noHypervisor } from './no-hypervisor.ts';
import { homeOf } from './path.ts';
import { PlayDisk } from './play-disk.ts';
import { Server } from './server.ts';

/** Beyond about so many the next domain takes no less time. */
const ROUNDS = 30;
const DOM0 = asDomid(0);
const portOf = (domid: Domid): EvtchnPort => asPort(domid + 1);
const silent: Log = { info: () => {}, warn: () => {}, error: () => {} };

/** Directories of a domain below its home, and how many nodes there are in each. */
const DIRECTORIES: readonly (readonly [string, number])[] = [
  ['control', 8],
  ['memory', 4],
  ['device/suspend', 1],
  ['cpu/0', 1],
  ['console', 8],
  ['store', 2],
];
/** The same of what is beside its home. */
const ELSEWHERE: readonly (readonly [(domid: Domid) => string, number])[] = [
  [domid => `/vm/5f0c8d8e-0000-4000-8000-${String(domid).padStart(12, '0')}`, 6],
  [domid => `/libxl/${domid}`, 3],
  [domid => `/libxl/${domid}/device/console/0`, 6],
  [domid => `${homeOf(0)}/backend/console/${domid}/0`, 6],
];

export class DomainRehearsal {
  readonly #server: Server;
  readonly #rings = new Map<Domid, RingTransport>();
  /** What an event on a domain's port does. */
  readonly #wakes = new Map<EvtchnPort, () => void>();
  /** Of each ring when it is introduced. */
  #page: Page = privatePage();
  /** The id of dom0's next transaction. */
  #tx = 1;
  #acts: (() => void)[] = [];
  #round = 0;

  constructor(clock: Clock) {
    const journal = new Journal({ clock, log: silent });
    const door: DomainDoor = {
      ...noHypervisor,
      mapStorePage: () => this.#page,
      bind: portOf,
      onEvent: (port, wake) => void this.#wakes.set(port, wake),
      domainInfo: () => ({ dying: false, shutdown: false, shutdownReason: 0 }),
    };
    this.#server = new Server({ clock, log: silent, onWork: () => {}, door, recorder: journal });
    journal.begin(this.#server, new PlayDisk());
    const connection = this.#server.accept(() => {});
    connection.receive(this.#introduction(DOM0));
    for (const type of ['vbd', 'vif', 'pvcalls']) this.#ask(DOM0, XS_WATCH, `${homeOf(0)}/backend/${type}`, 'token');
    for (const special of ['@introduceDomain', '@releaseDomain']) this.#ask(DOM0, XS_WATCH, special, 'token');
  }

  /** Some of it, in a millisecond or two; 'idle' when it is over. */
  step(): 'progress' | 'idle' {
    let moved = this.#server.step() === 'progress';
    for (const ring of this.#rings.values()) if (ring.step() === 'progress') moved = true;
    if (moved) return 'progress';
    const act = this.#acts.shift();
    if (act !== undefined) act();
    else if (this.#round++ < ROUNDS) this.#acts = this.#life(asDomid(this.#round));
    else return 'idle';
    return 'progress';
  }
  /** Where it took place, for who wants to see that it went well. */
  get server(): Server {
    return this.#server;
  }

  #life(domid: Domid): (() => void)[] {
    return [
      () => this.#writeNodes(domid),
      () => this.#write(DOM0, this.#introduction(domid)),
      () => this.#useRing(domid),
      () => this.#write(DOM0, frame(XS_RELEASE, 0, [String(domid)])),
      () => this.#removeNodes(domid),
    ];
  }

  #writeNodes(domid: Domid): void {
    const home = homeOf(domid);
    const tx = this.#begin();
    const write = (path: string, value: string, ...perms: string[]): void => {
      this.#write(DOM0, frame(XS_WRITE, tx, [path], value));
      if (perms.length > 0) this.#write(DOM0, frame(XS_SET_PERMS, tx, [path, ...perms]));
    };
    write(home, '', 'n0', `r${domid}`);
    for (const name of ['name', 'domid', 'vm']) write(`${home}/${name}`, `a value of dom${domid}`);
    for (const name of ['data', 'drivers', 'feature', 'attr', 'error']) write(`${home}/${name}`, '', `n${domid}`);
    for (const [directory, count] of [
      ...DIRECTORIES.map(([below, nodes]) => [`${home}/${below}`, nodes] as const),
      ...ELSEWHERE.map(([of, nodes]) => [of(domid), nodes] as const),
    ]) {
      write(directory, '', 'n0', `r${domid}`);
      for (let i = 0; i < count; i++)
        write(`${directory}/node-${i}`, `value ${i}`, ...(i % 4 === 3 ? [`n${domid}`] : []));
    }
    this.#commit(tx);
  }
  #useRing(domid: Domid): void {
    this.#ask(domid, XS_WATCH, 'control/shutdown', 'shutdown');
    this.#ask(domid, XS_READ, 'name');
    this.#ask(domid, XS_DIRECTORY, 'device');
    this.#ask(domid, XS_GET_PERMS, 'data');
    this.#write(domid, frame(XS_WRITE, 0, ['data/key'], 'value'));
    this.#write(DOM0, frame(XS_WRITE, 0, [`${homeOf(domid)}/control/shutdown`], 'poweroff'));
    this.#ask(DOM0, XS_READ, `${homeOf(domid)}/nothing`);
  }
  #removeNodes(domid: Domid): void {
    this.#rings.delete(domid);
    const tx = this.#begin();
    const paths = ELSEWHERE.map(([of]) => of(domid));
    for (const path of [...paths, homeOf(domid)]) this.#write(DOM0, frame(XS_RM, tx, [path]));
    this.#commit(tx);
  }

  #begin(): number {
    this.#write(DOM0, frame(XS_TRANSACTION_START, 0, ['']));
    return this.#tx++;
  }
  #commit(tx: number): void {
    this.#write(DOM0, frame(XS_TRANSACTION_END, tx, ['T']));
  }
  #introduction(domid: Domid): Uint8Array {
    this.#page = privatePage();
    this.#rings.set(domid, new RingTransport(this.#page, () => this.#wakes.get(portOf(domid))?.()));
    return frame(XS_INTRODUCE, 0, [String(domid), '1', '1']);
  }
  #ask(domid: Domid, type: number, ...strings: string[]): void {
    this.#write(domid, frame(type, 0, strings));
  }
  #write(domid: Domid, bytes: Uint8Array): void {
    this.#rings.get(domid)?.send(bytes);
  }
}

function frame(type: number, tx: number, strings: readonly string[], value = ''): Uint8Array {
  return xenstoreFrame(type, 1, tx, Buffer.from(strings.map(text => `${text}\0`).join('') + value, 'latin1'));
}
