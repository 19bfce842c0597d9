// Faults of requests: some are refused, some wait. They stand where a connection hands its requests to the store; while
// there are none, nothing of this is there. That a domain's request was refused is on record like what the hypervisor
// answers (RecordedDoor), for it depends on the clock; which requests it could be follows from the requests before.
import {
  type Clock,
  type Fault,
  type InjectedRequests,
  isOfXenstored,
  type Planted,
  plantedName,
  readPlanted,
  type Trigger,
  triggerOf,
  wholeFrame,
  XenError,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_ERROR,
  XS_GET_PERMS,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WRITE,
} from '#pvbus';
import type { Answer, Connection } from './connection.ts';
import { homeOf } from './path.ts';

const OPS: Readonly<Record<number, string>> = {
  [XS_READ]: 'read',
  [XS_WRITE]: 'write',
  [XS_RM]: 'rm',
  [XS_MKDIR]: 'mkdir',
  [XS_DIRECTORY]: 'directory',
  [XS_DIRECTORY_PART]: 'directory',
  [XS_GET_PERMS]: 'get-perms',
  [XS_SET_PERMS]: 'set-perms',
  [XS_WATCH]: 'watch',
  [XS_TRANSACTION_START]: 'start',
};
/** What TRANSACTION_END begins with when it is to commit: T. */
const COMMIT = 0x54;
const MAX_FAULTS = 256;
const MAX_LAST = 100;
/** Of a path of a request that is shown. */
const MAX_PATH = 200;

/** As an Answer, and says whether the request was done. */
export type Answering = (...message: Parameters<Answer>) => boolean;

export interface RequestFaultsParts {
  readonly clock: Clock;
  readonly plain: Answering;
  /** A domain's ring, not a socket. */
  readonly isRing: (client: Connection) => boolean;
  readonly nameOf: (domid: number) => string | undefined;
  /** The process is to be killed, or stopped for a while, before any reply leaves it. False: another one was, for this. */
  readonly strikeSoon: () => boolean;
  /** On record for who repeats the request: `body` is asked only the first time. */
  readonly recorded: <T>(body: () => T) => T;
}

interface Entry {
  readonly planted: Planted;
  readonly trigger: Trigger;
  last: number[];
  where: string;
  domid: number;
}

/** As plain data. */
export type RequestFaultState = Planted & Pick<Entry, 'last' | 'where' | 'domid'>;

type Counted = Pick<Entry, 'last' | 'where' | 'domid'> & Pick<Trigger, 'counts'>;

/** What is decided when the request is answered. */
const isOfAnswer = ({ error, kill, stop }: Fault): boolean =>
  error !== undefined || kill === 'after' || stop !== undefined;

/** What was befallen. */
interface Who {
  readonly op: string;
  readonly path: string;
  readonly name: string;
  readonly domid: number;
}
interface Asked extends Who {
  readonly client: Connection;
}

export class RequestFaults {
  readonly #parts: RequestFaultsParts;
  readonly #entries = new Map<string, Entry>();
  /** Clients whose next request waits, until when. */
  readonly #waiting = new Map<Connection, number>();
  /** What is to be done as soon as what was answered is on record. */
  #strike: Entry | undefined;

  constructor(parts: RequestFaultsParts) {
    this.#parts = parts;
  }
  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /** One that is there already goes on as it is. Throws EINVAL, ENOSPC. */
  add(text: string): void {
    const planted = readPlanted(text);
    const name = plantedName(planted);
    if (this.#entries.has(name)) return;
    if (this.#entries.size >= MAX_FAULTS) throw new XenError('ENOSPC', `${MAX_FAULTS} faults already`);
    if (!isOfXenstored(planted.fault)) throw new XenError('EINVAL', `a fault of ${planted.fault.part}`);
    this.#entries.set(name, { planted, trigger: triggerOf(planted), last: [], where: '', domid: 0 });
  }
  remove(name: string): void {
    if (!this.#entries.delete(name)) throw new XenError('ENOENT', `there is no fault ${name}`);
    for (const client of this.#waiting.keys()) client.goOn();
  }
  /** Of one: what is told of them all has no bound that a reply keeps. Throws ENOENT. */
  injected(name: string): InjectedRequests {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new XenError('ENOENT', `there is no fault ${name}`);
    const { trigger, last, where, domid } = entry;
    return { ...trigger.counts, last, where, domid };
  }

  // ---- refusing, and ending the process ----

  answer(client: Connection, type: number, req_id: number, tx_id: number, payload: Uint8Array): boolean {
    const asked = askedOf(client, type, payload);
    const entries = asked && this.#matching(asked, isOfAnswer);
    if (!asked || !entries || entries.length === 0) return this.#parts.plain(client, type, req_id, tx_id, payload);
    // invariant: asked at a request of a ring whenever a fault could befall it, also when it is repeated.
    const hit = this.#parts.isRing(client) ? this.#repeatable(entries, asked) : this.#decide(entries, asked);
    const code = hit?.planted.fault.error;
    if (code === undefined) {
      const done = this.#parts.plain(client, type, req_id, tx_id, payload);
      if (hit !== undefined) this.#strikeSoon(hit);
      return done;
    }
    // Xen: whatever comes of its end, a transaction is over.
    if (asked.op === 'commit') client.transactions.delete(tx_id);
    client.output.reply(XS_ERROR, req_id, tx_id, `${code}\0`);
    return false;
  }

  /** The decision is on record by the fault's name: who repeats it counts what has been counted. */
  #repeatable(entries: readonly Entry[], asked: Asked): Entry | undefined {
    let decided = false;
    const name = this.#parts.recorded(() => {
      decided = true;
      const hit = this.#decide(entries, asked);
      return hit === undefined ? null : plantedName(hit.planted);
    });
    const hit = name === null ? undefined : this.#entries.get(name);
    if (decided) return hit;
    for (const { trigger } of entries) trigger.counts.seen++;
    if (hit !== undefined) this.#note(hit, asked);
    return hit;
  }

  #strikeSoon(entry: Entry): void {
    if (this.#parts.strikeSoon()) this.#strike = entry;
  }
  /** What is to be done now. */
  takeStrike(): { kill: true } | { stop: number } | undefined {
    const stop = this.#strike?.planted.fault.stop;
    const asked = this.#strike !== undefined;
    this.#strike = undefined;
    if (!asked) return undefined;
    return stop === undefined ? { kill: true } : { stop };
  }
  /** By name, how far each fault has come, for `wasCounted`: sockets' requests are not repeated, and none is counted twice. */
  counted(): [name: string, text: string][] {
    return [...this.#entries].map(([name, { trigger, last, where, domid }]) => [
      name,
      JSON.stringify({ counts: trigger.counts, last, where, domid } satisfies Counted),
    ]);
  }
  /** On record by a daemon before this one. */
  wasCounted(name: string, text: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return; // removed since
    const { counts, ...rest } = JSON.parse(text) as Counted; // our own
    Object.assign(entry.trigger.counts, counts);
    Object.assign(entry, rest);
  }

  // ---- waiting ----

  /** Of the request at `at`. It changes nothing but when it is taken. */
  mayTake(client: Connection, bytes: Uint8Array, at: number): boolean {
    if (this.#strike?.planted.fault.kill !== undefined) return false; // nobody will
    const now = this.#parts.clock.now();
    const until = this.#waiting.get(client);
    if (until !== undefined) {
      if (until > now) return false;
      this.#waiting.delete(client);
      return true;
    }
    const frame = wholeFrame(bytes, at);
    const asked = frame && askedOf(client, frame.type, frame.payload);
    const hit =
      asked &&
      this.#decide(
        this.#matching(asked, ({ delay, kill }) => delay !== undefined || kill === 'before'),
        asked,
      );
    if (!hit) return true;
    if (hit.planted.fault.kill !== undefined) {
      this.#strikeSoon(hit);
      return false;
    }
    this.#waiting.set(client, now + (hit.planted.fault.delay ?? 0) * 1e6);
    return false;
  }
  /** When `step` has something to do, ns. */
  get deadline(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#waiting.values());
  }
  step(): void {
    if (this.#waiting.size === 0) return;
    const now = this.#parts.clock.now();
    for (const [client, until] of this.#waiting) if (until <= now) client.goOn();
  }
  /** A client is gone. */
  forget(client: Connection): void {
    this.#waiting.delete(client);
  }

  #matching({ client, op, path }: Asked, isOne: (fault: Fault) => boolean): Entry[] {
    const { domid } = client.actor;
    return [...this.#entries.values()].filter(({ planted: { fault } }) => {
      if (fault.part !== 'xenstore' || !isOne(fault) || (fault.op !== undefined && fault.op !== op)) return false;
      if (fault.path !== undefined && path !== fault.path && !path.startsWith(`${fault.path}/`)) return false;
      return this.#isOf(fault, domid);
    });
  }
  #isOf({ domain }: Fault, domid: number): boolean {
    return domain === undefined || domain === domid || domain === this.#parts.nameOf(domid);
  }
  #decide(entries: readonly Entry[], asked: Who): Entry | undefined {
    let chosen: Entry | undefined;
    for (const entry of entries) {
      const { trigger } = entry;
      if (chosen !== undefined) trigger.counts.seen++;
      else if (trigger.decide(this.#parts.clock.now())) {
        trigger.counts.injected--; // counted when it is noted
        chosen = entry;
      }
    }
    if (chosen !== undefined) this.#note(chosen, asked);
    return chosen;
  }
  #note(entry: Entry, { name, domid, op, path }: Who): void {
    const { counts } = entry.trigger;
    counts.injected++;
    entry.last = [...entry.last, counts.seen].slice(-MAX_LAST);
    // untrusted: the path is as the client wrote it.
    const about = path.slice(0, MAX_PATH).replace(/[^\x20-\x7e]/g, '?');
    entry.where = `${op}${about === '' ? '' : ` ${about}`} ${op === 'send' ? 'to' : op === 'receive' ? 'from' : 'by'} ${name}`;
    entry.domid = domid;
  }

  // ---- events of domains' channels ----

  /** One more: the fault that befalls it. `matches`: one for which it is. */
  befallsEvent(domid: number, op: string, matches: (fault: Fault) => boolean): Trigger | undefined {
    const entries = [...this.#entries.values()].filter(
      ({ planted: { fault } }) =>
        fault.part === 'event' && (fault.op ?? op) === op && this.#isOf(fault, domid) && matches(fault),
    );
    const hit = this.#decide(entries, { op, path: '', name: `dom${domid}`, domid });
    return hit?.trigger;
  }

  // ---- for a daemon that goes on where another has ended ----

  state(): RequestFaultState[] {
    return [...this.#entries.values()].map(({ planted, trigger, last, where, domid }) => ({
      ...planted,
      counts: { ...trigger.counts },
      ...{ last, where, domid },
    }));
  }
  restore(faults: readonly RequestFaultState[]): void {
    for (const { last, where, domid, ...planted } of faults)
      this.#entries.set(plantedName(planted), { planted, trigger: triggerOf(planted), last: [...last], where, domid });
  }
}

/** undefined: no fault is for such a request. */
function askedOf(client: Connection, type: number, payload: Uint8Array): Asked | undefined {
  const op = type === XS_TRANSACTION_END && payload[0] === COMMIT ? 'commit' : OPS[type];
  if (op === undefined) return undefined;
  const { name } = client;
  const { domid } = client.actor;
  if (op === 'commit' || op === 'start') return { client, name, domid, op, path: '' };
  const end = payload.indexOf(0);
  const path = Buffer.from(payload.subarray(0, end < 0 ? payload.length : end)).toString('latin1');
  return { client, name, domid, op, path: /^[/@]/.test(path) ? path : `${homeOf(domid)}/${path}` };
}
