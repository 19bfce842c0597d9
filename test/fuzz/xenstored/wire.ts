// Bytes of every kind on a socket and on a ring of one daemon, while another client of each sort goes on asking.

import {
  domid,
  type Page,
  requestReconnect,
  XENSTORE_CONNECTED,
  XENSTORE_ERROR_NONE,
  XENSTORE_ERROR_PROTO,
  XS_ERROR,
  XS_INTRODUCE,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_SET_PERMS,
  XS_WATCH_EVENT,
  xenstore_domain_interface,
  xenstoreFrame,
  xenstoreRing,
  xsd_errors,
} from '#pvbus';
import fc from '../../support/properties.ts';
import { DomainClient, type RigClient, type SocketClient, XenstoreRig } from '../../support/xenstore-rig.ts';
import { comment, type Explored } from './explore.ts';
import { nameOfType, read, shown, typeOfName } from './notation.ts';
import { servedInTime } from './turns.ts';

const AT = xenstore_domain_interface.at;
const WORDS = ['req_cons', 'req_prod', 'rsp_cons', 'rsp_prod', 'server_features', 'connection', 'error'] as const;
type Word = (typeof WORDS)[number];
type Carrier = 'socket' | 'ring';

export type Act =
  | {
      readonly kind: 'frame';
      readonly on: Carrier;
      readonly type: number;
      readonly tx: number;
      readonly payload: string;
      readonly cuts: readonly number[];
    }
  /** A header that claims `len` bytes, and fewer of them. */
  | {
      readonly kind: 'claim';
      readonly on: Carrier;
      readonly type: number;
      readonly len: number;
      readonly payload: string;
    }
  /** No frame at all. */
  | { readonly kind: 'noise'; readonly on: Carrier; readonly bytes: string }
  /** It reads nothing until `hears`. */
  | { readonly kind: 'deaf' | 'hears'; readonly on: Carrier }
  /** As many messages as fit into its ring, before the daemon has a turn. */
  | { readonly kind: 'flood'; readonly on: 'ring'; readonly type: number; readonly payload: string }
  | { readonly kind: 'poke'; readonly word: Word; readonly value: number };

/** Payloads that a message of any type may not expect. */
export const PAYLOADS: readonly string[] = [
  '',
  '\0',
  '\0\0',
  '\0\0\0\0',
  'x',
  'x\0',
  '/d',
  '/d\0',
  '/d\0\0',
  '\0/d\0',
  '/d\0x',
  '/d\0t\0',
  '/d\0t\x001\0',
  '/d\0t\x00-1\0more\0',
  '/d\0n0\0',
  '/d\0n0\0b3',
  '/d\x000\0',
  '/d\x004294967295\0',
  '3\0',
  '3\x001\x001\0',
  '3\0nodes\x001000\0',
  'T\0',
  'F\0',
  '@releaseDomain\0t\0',
  '@releaseDomain\0',
  '//\0',
  '/d/\0',
  '/d//e\0',
  '/local/domain/\0',
  '/local/domain/x\0',
  '/\xe4\xff\0',
  `${'/a'.repeat(1000)}\0x`,
  `${'a/'.repeat(1000)}a\0`,
  `/${'a'.repeat(3071)}\0`,
  `/${'a'.repeat(3072)}\0`,
  'a'.repeat(4096),
  '\0'.repeat(4096),
  '/d\0'.repeat(1365),
  `/d\0${'v'.repeat(4093)}`,
  `/d\0${'t'.repeat(4092)}\0`,
  `3\0${'9'.repeat(400)}\0`,
];
/** Every type a message may have, and some it may not. */
export const TYPES: readonly number[] = [...Array(31).keys(), 0xff, 0xffff, 0x80000000, 0xffffffff];

const one = <T>(...values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const byte = fc.nat({ max: 255 }).map(n => String.fromCharCode(n));
const payload = fc.oneof(
  { weight: 4, arbitrary: one(...PAYLOADS) },
  {
    weight: 2,
    arbitrary: fc
      .array(one('/d', 'data', '3', '5', 't', 'n3', 'T', '', '-1', '\xff'), { maxLength: 5 })
      .map(all => all.map(t => `${t}\0`).join('')),
  },
  { weight: 1, arbitrary: fc.string({ unit: byte, maxLength: 50 }) },
);
const type = fc.oneof({ weight: 9, arbitrary: fc.nat({ max: 30 }) }, { weight: 1, arbitrary: one(...TYPES) });
const on = one<Carrier>('socket', 'ring');
const u32 = fc.oneof(
  one(0, 1, 2, 1023, 1024, 1025, 0x7fffffff, 0x80000000, 0xfffffbff, 0xffffffff),
  fc.nat({ max: 0xffffffff }),
);

export const anyAct: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      kind: one('frame' as const),
      on,
      type,
      tx: fc.oneof(
        { weight: 4, arbitrary: one(0) },
        { weight: 2, arbitrary: fc.nat({ max: 3 }) },
        { weight: 1, arbitrary: u32 },
      ),
      payload,
      cuts: fc.array(fc.nat({ max: 4112 }), { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: one('claim' as const),
      on,
      type,
      len: one(4097, 2 ** 31, 2 ** 32 - 1),
      payload: fc.string({ unit: byte, maxLength: 20 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: one('noise' as const),
      on,
      bytes: fc.string({ unit: byte, minLength: 1, maxLength: 40 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: one('deaf' as const, 'hears' as const), on }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: one('flood' as const),
      on: one('ring' as const),
      type,
      payload: one(...PAYLOADS.filter(p => p.length < 40)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: one('poke' as const), word: one(...WORDS), value: u32 }) },
);

export function actLine(act: Act): string {
  if (act.kind === 'poke') return `ring poke ${act.word} ${act.value}`;
  if (act.kind === 'noise') return `${act.on} noise ${shown(act.bytes)}`;
  if (act.kind === 'claim') return `${act.on} claim ${act.len} ${nameOfType(act.type)} ${shown(act.payload)}`;
  if (act.kind === 'flood') return `ring flood ${nameOfType(act.type)} ${shown(act.payload)}`;
  if (act.kind === 'frame')
    return `${act.on} frame ${[0, ...act.cuts].join(',')} ${nameOfType(act.type)} ${act.tx} ${shown(act.payload)}`;
  return `${act.on} ${act.kind}`;
}
export function parseAct(line: string): Act {
  const [on, kind, first = '', second = '', third = '', fourth = ''] = line.split(' ') as [
    Carrier,
    Act['kind'],
    ...string[],
  ];
  switch (kind) {
    case 'poke':
      return { kind, word: first as Word, value: Number(second) };
    case 'noise':
      return { kind, on, bytes: read(first) };
    case 'claim':
      return { kind, on, len: Number(first), type: typeOfName(second), payload: read(third) };
    case 'flood':
      return { kind, on: 'ring', type: typeOfName(first), payload: read(second) };
    case 'frame':
      return {
        kind,
        on,
        cuts: first.split(',').slice(1).map(Number),
        type: typeOfName(second),
        tx: Number(third),
        payload: read(fourth),
      };
    default:
      return { kind, on };
  }
}

/** What a stream of bytes is, to who sent it: how many whole messages, and whether it claims too much. */
class Framing {
  #bytes = Buffer.alloc(0);
  /** req_ids of whole messages, in order. */
  readonly asked: number[] = [];
  tooLong = false;

  add(bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    while (this.#bytes.length >= 16 && !this.tooLong) {
      const len = this.#bytes.readUInt32LE(12);
      if (len > 4096) this.tooLong = true;
      else if (this.#bytes.length < 16 + len) return;
      else {
        this.asked.push(this.#bytes.readUInt32LE(4));
        this.#bytes = this.#bytes.subarray(16 + len);
      }
    }
  }
}

interface Attacker {
  readonly client: RigClient;
  readonly framing: Framing;
  answered: number;
  deaf: boolean;
  /** It has changed words of its page: what becomes of its requests is its own affair. */
  lied: boolean;
}
const attacker = (client: RigClient): Attacker => ({
  client,
  framing: new Framing(),
  answered: 0,
  deaf: false,
  lied: false,
});

export class WireRun {
  readonly rig = new XenstoreRig();
  requests = 0;
  #socket: Attacker;
  #ring: Attacker;
  readonly #bystander: SocketClient;
  readonly #neighbour: DomainClient;
  #nextId = 1;

  constructor() {
    const { rig } = this;
    this.#bystander = rig.dom0();
    this.#ring = attacker(rig.domain(3));
    this.#neighbour = rig.domain(5);
    for (const [path, perms] of [
      ['/local/domain/3', 'n3'],
      ['/local/domain/5', 'n5'],
      ['/d', 'b0'],
    ]) {
      this.#bystander.send(XS_MKDIR, `${path}\0`);
      this.#bystander.send(XS_SET_PERMS, `${path}\0${perms}\0`);
    }
    this.#bystander.take();
    this.#socket = attacker(rig.dom0());
  }

  /** Throws what is wrong. */
  play(acts: Iterable<Act>): void {
    for (const act of acts) {
      this.#act(act);
      this.#othersAreServed();
      this.#judgeSocket();
      this.#judgeRing();
      const error = this.rig.log.lines.find(line => line.startsWith('error'));
      if (error !== undefined) throw new Error(`logged: ${error}`);
    }
  }

  // ---- the attack ----

  #act(act: Act): void {
    if (act.kind === 'poke') {
      this.#ring.lied = true;
      this.#page.view.setUint32(AT[act.word], act.value, true);
      this.rig.door.fromDomain(3);
      return;
    }
    const it = act.on === 'ring' ? this.#ring : this.#socket;
    const bytes = (type: number, tx: number, payload: string): Uint8Array =>
      xenstoreFrame(type, this.#nextId++, tx, latin1(payload));
    switch (act.kind) {
      case 'deaf':
        it.deaf = true;
        return;
      case 'hears':
        it.deaf = false;
        if (act.on === 'ring' && it.lied) this.#mendRing();
        return;
      case 'noise':
        this.#send(it, latin1(act.bytes));
        return;
      case 'claim': {
        const claim = bytes(act.type, 0, act.payload);
        new DataView(claim.buffer).setUint32(12, act.len, true);
        this.#send(it, claim);
        return;
      }
      case 'flood':
        for (let i = 0; i < 64; i++) if (!this.#put(bytes(act.type, 0, act.payload))) return;
        return;
      case 'frame': {
        const frame = bytes(act.type, act.tx, act.payload);
        let from = 0;
        for (const cut of [...act.cuts.filter(at => at < frame.length).sort((a, b) => a - b), frame.length]) {
          this.#send(it, frame.subarray(from, cut));
          from = cut;
        }
        // A ring that dom0 connects anew has forgotten the half of a message.
        if (act.on === 'socket' && (act.type === XS_INTRODUCE || act.type === XS_RELEASE)) this.#ring.lied = true;
      }
    }
  }

  get #page(): Page {
    return (this.#ring.client as DomainClient).page;
  }
  #word(name: Word): number {
    return this.#page.view.getUint32(AT[name], true);
  }

  /** A whole message into the ring, when there is room, and no turn for the daemon. */
  #put(frame: Uint8Array): boolean {
    const { writer } = xenstoreRing(this.#page, 'front');
    const { framing } = this.#ring;
    if (framing.tooLong || writer.writable() < frame.length) return false;
    framing.add(frame);
    writer.write(frame);
    this.rig.door.fromDomain(3);
    return true;
  }

  #send(it: Attacker, bytes: Uint8Array): void {
    if (it.framing.tooLong) return;
    it.framing.add(bytes);
    if (it === this.#socket) {
      it.client.raw(bytes);
      return;
    }
    const { writer } = xenstoreRing(this.#page, 'front');
    for (let at = 0; at < bytes.length; ) {
      const n = writer.write(bytes.subarray(at));
      if (n < 0) return; // it has lied about its own indices
      at += n;
      this.rig.door.fromDomain(3);
      this.rig.run();
      if (n > 0) continue;
      if (it.lied || this.#word('error') !== XENSTORE_ERROR_NONE) return;
      it.client.collect(); // it is full because nobody reads what comes back
      if (this.#word('error') !== XENSTORE_ERROR_NONE) return; // only now has the daemon come to what is wrong
      if (writer.writable() === 0) throw new Error('ring: full, and nothing is taken from it');
    }
  }

  // ---- what has to come of it ----

  #judgeSocket(): void {
    const it = this.#socket;
    const client = it.client as SocketClient;
    if (it.framing.tooLong) client.collect();
    const { broken } = client.connection;
    if (it.framing.tooLong !== (broken !== undefined)) {
      throw new Error(`socket: claimed too much: ${it.framing.tooLong}; broken: ${broken}`);
    }
    if (broken !== undefined) {
      client.close();
      this.#socket = attacker(this.rig.dom0());
    } else if (!it.deaf) this.#checkReplies(it, 'socket');
  }

  #judgeRing(): void {
    const it = this.#ring;
    this.rig.run();
    if (!this.rig.server.domains.has(domid(3))) this.#mendRing();
    else if (it.lied) {
      if (this.#word('error') !== XENSTORE_ERROR_NONE) this.#mendRing();
    } else if (it.framing.tooLong) {
      it.client.collect(); // the daemon may not have come to it, because nothing was read
      if (this.#word('error') !== XENSTORE_ERROR_PROTO) throw new Error('ring: claimed too much and is not marked');
      if (!this.rig.log.lines.some(line => /^warning: dom3: .*ring/.test(line)))
        throw new Error('ring: marked, but nothing logged');
      this.#mendRing();
    } else if (this.#word('error') !== XENSTORE_ERROR_NONE) {
      throw new Error(`ring: marked with error ${this.#word('error')} for nothing`);
    } else if (!it.deaf) this.#checkReplies(it, 'ring');
  }

  /** Each whole message has its answer, and nothing else has one. */
  #checkReplies(it: Attacker, on: Carrier): void {
    for (const { type, req_id, payload } of it.client.take()) {
      if (type === XS_WATCH_EVENT) continue;
      if (req_id !== it.framing.asked[it.answered]) throw new Error(`${on}: an answer to request ${req_id}`);
      it.answered++;
      this.requests++;
      const error = payload.toString('latin1');
      if (type === XS_ERROR && !ERRORS.has(error)) throw new Error(`${on}: error ${shown(error)}`);
    }
    const { length } = it.framing.asked;
    if (it.answered !== length) throw new Error(`${on}: ${length} requests, ${it.answered} replies`);
  }

  /** It asks for a new start, and is served again. */
  #mendRing(): void {
    const { server, door } = this.rig;
    const page = this.#page;
    if (!server.domains.has(domid(3))) {
      this.#bystander.send(XS_INTRODUCE, '3\x001\x001\0');
      this.#bystander.take();
    }
    requestReconnect(page, () => door.fromDomain(3));
    this.rig.run();
    const words = [this.#word('connection'), this.#word('error')];
    if (String(words) !== String([XENSTORE_CONNECTED, XENSTORE_ERROR_NONE])) {
      throw new Error(`ring: not mended; connection and error are ${words}`);
    }
    const client = new DomainClient(this.rig, 3, page);
    client.send(XS_READ, 'x\0');
    if (client.take().length !== 1) throw new Error('ring: mended, but not served');
    this.#ring = attacker(client);
  }

  #othersAreServed(): void {
    const { server } = this.rig;
    this.#bystander.connection.receive(xenstoreFrame(XS_READ, 1, 0, latin1('/local\0')));
    if (this.#bystander.connection.output.empty) throw new Error('a client of dom0 has no answer at once');
    this.#bystander.take();
    if (!server.domains.has(domid(5))) {
      this.#bystander.send(XS_INTRODUCE, '5\x001\x001\0');
      this.#bystander.take();
      this.rig.run();
    }
    servedInTime(this.rig, this.#neighbour);
  }
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const ERRORS = new Set(xsd_errors.map(name => `${name}\0`));

/** What the text of an attack begins with. */
export const WIRE_MARK = '# wire';

/** The attack of a text, as far as it goes, and what is wrong then. */
export function replayWire(text: string): { readonly text: string; readonly wrong: boolean } {
  const run = new WireRun();
  const done: string[] = [];
  try {
    for (const line of text.split('\n').filter(line => line !== '' && !line.startsWith('#'))) {
      done.push(line);
      run.play([parseAct(line)]);
    }
    return { text: [...done, comment('as it ought to be')].join('\n'), wrong: false };
  } catch (error) {
    return { text: [...done, comment(String(error instanceof Error ? error.stack : error))].join('\n'), wrong: true };
  }
}

/** Many attacks drawn by lot from one seed, until one succeeds; then the shortest that still does. */
export function exploreWire(seed: number, runs: number): Explored {
  let requests = 0;
  const acts = fc.array(anyAct, { minLength: 1, maxLength: 60, size: 'max' });
  const result = fc.check(
    fc.property(acts, acts => {
      const run = new WireRun();
      try {
        run.play(acts);
      } finally {
        requests += run.requests;
      }
    }),
    { seed, numRuns: runs },
  );
  const [found] = result.counterexample ?? [];
  if (!found) return { seed, runs, requests, failure: undefined };
  const why = String(result.errorInstance instanceof Error ? result.errorInstance.stack : result.errorInstance);
  return {
    seed,
    runs,
    requests,
    failure: [`${WIRE_MARK}, seed ${seed}`, ...found.map(actLine), comment(why)].join('\n'),
  };
}
