// One run: steps done to a real daemon and to the model, and the two compared after each.
import {
  domid,
  requestReconnect,
  XENSTORE_CONNECTED,
  XENSTORE_ERROR_NONE,
  XS_CONTROL,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_ERROR,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_READ,
  XS_RELEASE,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WATCH_EVENT,
  xenstore_domain_interface,
  xenstoreFrame,
} from '#pvbus';
import { MemoryDisk } from '../../support/memory-journal.ts';
import {
  DomainClient,
  type ReceivedFrame,
  type RigClient,
  SocketClient,
  XenstoreRig,
} from '../../support/xenstore-rig.ts';
import { type Heard, Model, type Request } from './model.ts';
import { shown, stepLines } from './notation.ts';
import { type Ask, DOMIDS, NEVER_OPEN, SOCKETS, type Step } from './steps.ts';

/** The daemon did not do as the model says. */
export class Mismatch extends Error {}

interface Party {
  readonly client: RigClient;
  deaf: boolean;
  /** The rest of a request, which is to be sent first. */
  half: { readonly bytes: Uint8Array; readonly sent: Sent } | undefined;
}
interface Sent extends Request {
  readonly req_id: number;
}

const AT = xenstore_domain_interface.at;
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

export class Run {
  readonly rig: XenstoreRig;
  readonly model = new Model();
  /** The conversation so far. */
  readonly lines: string[] = [];
  /** Requests that were answered. */
  requests = 0;
  readonly #parties = new Map<string, Party>();
  readonly #outcomes: Map<string, number>;
  #observer: RigClient;
  #nextId = 1;

  /** `outcomes`: how often each type of message had which outcome, to be counted on. */
  constructor(rig = new XenstoreRig(new MemoryDisk()), outcomes = new Map<string, number>()) {
    this.rig = rig;
    this.#outcomes = outcomes;
    this.#observer = rig.dom0();
    for (const who of SOCKETS) this.#connect(who);
  }

  /** Throws a Mismatch. */
  play(steps: Iterable<Step>): void {
    for (const step of steps) this.#step(step);
    this.#everybodyReads();
    this.#compareTrees();
  }

  #step(step: Step): void {
    const before = this.lines.length;
    try {
      if (step.kind === 'door') {
        this.#everybodyReads();
        this.lines.push(...stepLines(step));
        this.#door(step.act, step.domid);
      } else if (step.kind === 'restart') {
        this.lines.push(...stepLines(step));
        this.#restart();
      } else {
        const party = this.#parties.get(step.who);
        if (!party) return; // a domain that is not introduced
        if (party.half) this.#finish(step.who, party, party.half);
        if (step.kind === 'ask') this.#ask(step.who, party, step);
        else this.lines.push(...stepLines(step));
        if (step.kind === 'deaf') party.deaf = true;
        else if (step.kind === 'half') this.#half(step.who, party, step.ask, step.bytes);
        else if (step.kind === 'hang-up') this.#hangUp(step.who, party);
      }
      this.#comparePages();
      if (mayChange(step)) this.#compareTrees();
    } catch (error) {
      if (this.lines.length === before) this.lines.push(...stepLines(step));
      throw error;
    }
  }

  // ---- clients ----

  #connect(who: string): void {
    this.model.connect(who);
    this.#parties.set(who, { client: this.rig.dom0(), deaf: false, half: undefined });
  }
  #hangUp(who: string, { client }: Party): void {
    if (client instanceof SocketClient) client.close();
    this.model.hangUp(who);
    this.#connect(who);
  }

  /** Sockets end with the daemon; what domains have does not, not even the first bytes of a request. */
  #restart(): void {
    this.rig.restart();
    this.#observer = this.rig.dom0();
    for (const who of SOCKETS) this.model.hangUp(who);
    this.model.look(); // what has become of domains meanwhile
    this.#introductions({ type: 0, tx: 0, payload: '' });
    for (const who of SOCKETS) this.#connect(who);
    this.#othersRead();
  }

  /** A reference to a transaction as the id it is now; a client that has none open does without. */
  #resolved(who: string, { type, tx, payload }: Ask): Sent {
    const open = this.model.transactionsOf(who);
    const id = tx === 0 ? 0 : tx === NEVER_OPEN ? 0x7f000000 : (open[(tx - 1) % open.length] ?? 0);
    return { type, tx: id, payload, req_id: this.#nextId++ };
  }
  static #bytes({ type, req_id, tx, payload }: Sent): Uint8Array {
    return xenstoreFrame(type, req_id, tx, latin1(payload));
  }

  #ask(who: string, party: Party, step: Step & { kind: 'ask' }): void {
    // What begins or ends a ring begins it empty.
    if (step.asks.some(({ type }) => type === XS_INTRODUCE || type === XS_RELEASE)) this.#everybodyReads();
    const sent = step.asks.map(ask => this.#resolved(who, ask));
    const bytes = Buffer.concat(sent.map(request => Run.#bytes(request)));
    this.lines.push(...stepLines(step));
    let from = 0;
    for (const cut of [...step.cuts].sort((a, b) => a - b)) {
      if (cut <= from || cut >= bytes.length) continue;
      party.client.raw(bytes.subarray(from, cut));
      from = cut;
    }
    party.client.raw(bytes.subarray(from));
    this.#answered(who, party, sent);
  }

  #half(who: string, party: Party, ask: Ask, bytes: number): void {
    const sent = this.#resolved(who, ask);
    const all = Run.#bytes(sent);
    const cut = Math.min(bytes, all.length - 1);
    if (cut > 0) party.client.raw(all.subarray(0, cut));
    party.half = { bytes: all.subarray(cut), sent };
  }
  #finish(who: string, party: Party, { bytes, sent }: NonNullable<Party['half']>): void {
    party.half = undefined;
    if (sent.type === XS_INTRODUCE || sent.type === XS_RELEASE) this.#everybodyReads();
    this.lines.push(`# the rest of ${who}'s request`);
    party.client.raw(bytes);
    this.#answered(who, party, [sent]);
  }

  /** All of `sent` has been sent: compare what came back, and what the others heard. */
  #answered(who: string, party: Party, sent: readonly Sent[]): void {
    const { client } = party;
    const frames = client.take();
    party.deaf = false;
    this.#note(frames, sent.length);
    const replies = frames.filter(({ type }) => type !== XS_WATCH_EVENT);
    if (replies.length !== sent.length)
      throw new Mismatch(`${who}: ${sent.length} requests, ${replies.length} replies`);
    for (const [i, request] of sent.entries()) {
      const { type, req_id, tx_id, payload } = replies[i]!; // as many as requests
      const name = type === XS_ERROR ? payload.toString('latin1').replace(/\0$/, '') : undefined;
      const got = name === undefined ? `=${payload.toString('latin1')}` : `!${name}`;
      const expected = this.model.request(who, request, got);
      if (got !== expected) throw new Mismatch(`${who}: expected ${shown(expected)}, got ${shown(got)}`);
      const header = [type === XS_ERROR ? request.type : type, req_id, tx_id];
      if (String(header) !== String([request.type, request.req_id, request.tx]))
        throw new Mismatch(`${who}: a reply with type, req_id, tx_id ${header}`);
      this.requests++;
      const outcome = `${request.type} ${name === undefined ? '=' : got}`;
      this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1);
      if (expected === '=OK\0' || request.type !== XS_INTRODUCE) this.#introductions(request);
    }
    const events = eventsIn(frames);
    const heard = this.model.heardBy(who);
    this.#compareEvents(who, client, events, heard);
    if (sent.length === 1) {
      const at = frames.indexOf(replies[0]!);
      // The first event of a watch comes after the OK, unless the same one has been waiting already.
      const first = sent[0]!.type === XS_WATCH && replies[0]!.type === XS_WATCH ? heard.at(-1)!.event : undefined;
      const after = frames.length - at - 1;
      const waited = first !== undefined && after === 0 && eventsIn(frames).includes(first);
      if (after !== (first === undefined ? 0 : 1) && !waited) {
        throw new Mismatch(`${who}: the reply is at place ${at + 1} of ${frames.length}`);
      }
    }
    this.#othersRead();
  }

  /** Rings begin and end by requests. */
  #introductions({ type, payload }: Request): void {
    for (const id of DOMIDS) {
      const who = `dom${id}`;
      const introduced = this.model.isIntroduced(id);
      if (!introduced) this.#parties.delete(who);
      else if (!this.#parties.has(who) || (type === XS_INTRODUCE && Number(payload.split('\0')[0]) === id)) {
        const { page } = this.rig.door.domains.get(domid(id))!; // introduced, so it exists
        this.#parties.set(who, { client: new DomainClient(this.rig, id, page), deaf: false, half: undefined });
      }
    }
  }

  #door(act: (Step & { kind: 'door' })['act'], id: number): void {
    const { door, server } = this.rig;
    const exists = door.domains.has(domid(id));
    const party = this.#parties.get(`dom${id}`);
    if (act === 'creates') {
      if (exists || this.model.isIntroduced(id)) return;
      door.create(id);
      this.model.create(id);
    } else if (act === 'reconnects') {
      if (!(party?.client instanceof DomainClient)) return;
      const { page } = party.client;
      requestReconnect(page, () => door.fromDomain(id));
      this.rig.run();
      this.model.reconnect(id);
      this.#parties.set(`dom${id}`, { client: new DomainClient(this.rig, id, page), deaf: false, half: undefined });
    } else if (act === 'tells') {
      server.domains.check();
      this.model.look();
    } else if (exists && act === 'shuts-down') {
      door.shutDown(id, 0);
      this.model.shutDown(id);
      this.model.look();
    } else if (exists) {
      door.vanish(id);
      this.model.vanish(id);
      if (act === 'destroys') {
        server.domains.check();
        this.model.look();
      }
    }
    this.rig.run();
    this.#introductions({ type: 0, tx: 0, payload: '' });
    this.#othersRead();
  }

  // ---- comparing ----

  #everybodyReads(): void {
    for (const party of this.#parties.values()) party.deaf = false;
    this.#othersRead();
  }
  /** Nobody has asked, so nothing but events can have come. */
  #othersRead(): void {
    this.rig.run();
    for (const [who, { client, deaf }] of this.#parties) {
      if (deaf) continue;
      const frames = client.take();
      if (frames.length > 0) this.lines.push(`${who.padEnd(6)} hears   ${frames.map(shownFrame).join('  ')}`);
      const reply = frames.find(({ type }) => type !== XS_WATCH_EVENT);
      if (reply) throw new Mismatch(`${who}: a reply to nothing`);
      this.#compareEvents(who, client, eventsIn(frames), this.model.heardBy(who));
    }
  }

  #compareEvents(who: string, client: RigClient, got: readonly string[], heard: readonly Heard[]): void {
    const fail = (what: string, event: string): never => {
      throw new Mismatch(
        `${who}: ${what} ${shown(event)}; expected ${heard.map(h => shown(h.event) + (h.sure ? '' : '?')).join('  ') || 'none'}`,
      );
    };
    const times = (all: readonly string[], event: string): number => all.filter(e => e === event).length;
    const expected = heard.map(({ event }) => event);
    for (const { event, sure } of heard) if (sure && !got.includes(event)) fail('was not told of', event);
    for (const event of new Set(got)) {
      const most = client instanceof SocketClient ? Math.min(1, times(expected, event)) : times(expected, event);
      if (times(got, event) > most) fail(`was told ${times(got, event)} times of`, event);
    }
    // Of one change, in the order of the watches.
    for (const change of new Set(heard.map(h => h.change))) {
      const its = [
        ...new Set(heard.filter(h => h.change === change && got.includes(h.event)).map(h => h.event)),
      ].filter(event => !heard.some(h => h.event === event && h.change !== change));
      const places = its.map(event => got.indexOf(event));
      if (places.some((place, i) => i > 0 && place < places[i - 1]!))
        fail('was told in another order:', its.join('  '));
    }
  }

  #compareTrees(): void {
    const [is, ought] = [this.#dump(), this.model.dump()];
    for (let i = 0; i < Math.max(is.length, ought.length); i++) {
      if (is[i] !== ought[i])
        throw new Mismatch(`the tree: expected ${shown(ought[i] ?? 'nothing')}, got ${shown(is[i] ?? 'nothing')}`);
    }
  }
  /** The pages of the domains, and the log. */
  #comparePages(): void {
    for (const [who, { client }] of this.#parties) {
      if (!(client instanceof DomainClient)) continue;
      const words = [AT.server_features, AT.connection, AT.error].map(at => client.page.view.getUint32(at, true));
      const wanted = [this.model.featuresOf(client.domid), XENSTORE_CONNECTED, XENSTORE_ERROR_NONE];
      if (String(words) !== String(wanted))
        throw new Mismatch(`${who}: features, connection, error of its page are ${words}, not ${wanted}`);
    }
    const error = this.rig.log.lines.find(line => line.startsWith('error'));
    if (error !== undefined) throw new Mismatch(`logged: ${error}`);
  }

  /** Ask all at once; in the order of the requests. */
  #observe(requests: readonly (readonly [type: number, payload: string])[]): ReceivedFrame[] {
    const id = this.#nextId;
    const bytes = requests.map(([type, payload]) => xenstoreFrame(type, id, 0, latin1(`${payload}\0`)));
    this.#observer.raw(Buffer.concat(bytes));
    const frames = this.#observer.take();
    if (frames.length !== requests.length) {
      throw new Mismatch(`the observer got ${frames.length} answers to ${requests.length} requests`);
    }
    return frames;
  }
  #dump(): string[] {
    const lines: string[] = [];
    for (let level = ['/']; level.length > 0; ) {
      const answers = this.#observe(
        level.flatMap(path => [XS_READ, XS_GET_PERMS, XS_DIRECTORY].map(type => [type, path] as const)),
      );
      const next: string[] = [];
      for (const [i, path] of level.entries()) {
        const [value, perms, list] = answers.slice(3 * i, 3 * i + 3);
        lines.push(`${path} ${perms?.payload.toString('latin1')} ${value?.payload.toString('latin1')}`);
        const text = list?.type === XS_DIRECTORY ? list.payload.toString('latin1') : this.#longList(path);
        const prefix = path === '/' ? '/' : `${path}/`;
        for (const name of text.split('\0').slice(0, -1)) next.push(prefix + name);
      }
      level = next;
    }
    const [check] = this.#observe([[XS_CONTROL, 'check']]);
    if (check?.payload.toString() !== 'OK\0') throw new Mismatch(`check: ${check?.payload}`);
    return lines.sort();
  }
  #longList(path: string): string {
    for (let list = ''; ; ) {
      const [part] = this.#observe([[XS_DIRECTORY_PART, `${path}\0${list.length}`]]);
      if (part?.type !== XS_DIRECTORY_PART) throw new Mismatch(`${path} cannot be listed: ${part?.payload}`);
      const more = part.payload.toString('latin1').replace(/^[0-9]+\0/, '');
      if (/(^|\0)\0$/.test(more)) return list + more.slice(0, -1);
      list += more;
    }
  }

  /** Put what came beside the lines of the requests it came for. */
  #note(frames: readonly ReceivedFrame[], requests: number): void {
    let at = Math.max(0, this.lines.length - requests);
    for (const frame of frames) {
      const isReply = frame.type !== XS_WATCH_EVENT;
      const line = Math.min(at, this.lines.length - 1);
      this.lines[line] = `${this.lines[line]!.padEnd(48)}  ${shownFrame(frame)}`;
      if (isReply) at++;
    }
  }
}

/** Everything but what only looks; that it does nothing else shows after the next that does. */
function mayChange(step: Step): boolean {
  return step.kind !== 'ask' || step.asks.some(({ type }) => !LOOKING.has(type));
}
const LOOKING = new Set([
  XS_READ,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_GET_PERMS,
  XS_WATCH,
  XS_UNWATCH,
  XS_TRANSACTION_START,
]);

const eventsIn = (frames: readonly ReceivedFrame[]): string[] =>
  frames.filter(({ type }) => type === XS_WATCH_EVENT).map(({ payload }) => payload.toString('latin1'));

function shownFrame({ type, payload }: ReceivedFrame): string {
  const text = shown(payload.toString('latin1'));
  if (type === XS_WATCH_EVENT) return `EVENT ${text}`;
  return type === XS_ERROR ? text.replace(/\|$/, '') : text || '""';
}
