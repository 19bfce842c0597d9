// Plays a xenstore conversation written as a table.
//
//   who   tx   request            what it then receives, in order
//   dom0  -    WATCH /a|t|        OK|  EVENT /a|t|
//   dom3  T1   READ data          ENOENT
//   dom5  -    hears              EVENT /a|t|
//
// Columns are two or more spaces apart; `|` is a NUL byte. A reply of a bare error name is an XS_ERROR, `<error>`
// one of any name, `<text>` a reply of any words. `$T1` in the reply of TRANSACTION_START names that transaction; `*`
// is any number; `""` is nothing; `{x*40}` is 40 times x. `dom3 x40` does the line 40 times; `{n}` in it counts them,
// from 1. `claims 5000` is a header that says so, `moves req_prod 9` what a ring's index may not do; the answer is what
// becomes of the connection. `door` and `clock` lines are what happens around the daemon. Everything that a client was
// sent must be written down: what is left over at the end is a failure.
//
// A line that begins with `~c` or `~ocaml` says what Xen's own daemon in that language sends in place of what the
// line before it says, and in brackets under which name docs/xenstore.md explains it. `end` behind that: from there
// on the two have nothing left to compare. `not played`: the line would stop that daemon.
//
//   dom3  -    WATCH c|3|         ENOSPC
//   ~c         E2BIG              [too-many-watches]
import * as pvbus from '#pvbus';
import * as newer from '../../dom0/xenstored/newer-wire.ts';
import type { ReceivedFrame } from './xenstore-rig.ts';

const TYPES = new Map(
  Object.entries({ ...pvbus, ...newer })
    .filter(([name, value]) => name.startsWith('XS_') && typeof value === 'number')
    .map(([name, value]) => [name.slice(3), value as number]),
);

/** Xen's daemon in C, or the one in OCaml. */
export type Which = 'c' | 'ocaml';

/** What another daemon does with a line. */
export interface Difference {
  readonly expected: readonly string[];
  /** Its name in docs/xenstore.md. */
  readonly name: string;
  readonly end: boolean;
}

export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string;
  /** Which time it is, of a line that is done more than once. */
  readonly n: number;
  /** A client, `door`, or `clock`. */
  readonly who: string;
  readonly tx: string;
  readonly request: string;
  readonly expected: readonly string[];
  readonly differences: Partial<Record<Which, Difference>>;
}

/** The lines of a transcript that do something. */
export function parseTranscript(text: string): Line[] {
  const lines: Line[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const columns = line.trim().split(/ {2,}/);
    const [, which] = /^~(c|ocaml)$/.exec(columns[0] ?? '') ?? [];
    if (which === undefined) {
      const [whoAndTimes = '', tx = '-', ...rest] = columns;
      const [who = '', times = '1'] = whoAndTimes.split(' x');
      // All of them share what other daemons do.
      const differences = {};
      for (let n = 1; n <= Number(times); n++) {
        const [request = '', ...expected] = rest.map(text => text.replaceAll('{n}', String(n)));
        lines.push({ number: i + 1, text: line.trim(), n, who, tx, request, expected, differences });
      }
      continue;
    }
    const end = columns.at(-1) === 'end';
    const [, name] = /^\[(.+)\]$/.exec(columns.at(end ? -2 : -1) ?? '') ?? [];
    const about = lines.at(-1);
    if (name === undefined || !about) throw new Error(`line ${i + 1} is no difference: ${line}`);
    const expected = columns.slice(1, end ? -2 : -1);
    about.differences[which as Which] = { expected, name, end };
  }
  return lines;
}

/** One client as a player sees it. */
export interface StageClient {
  send(type: number, payload: string, tx_id: number): number;
  /** All it was sent since the last call. */
  take(): ReceivedFrame[] | Promise<ReceivedFrame[]>;
  /** Bytes that need be no message. */
  raw(bytes: Uint8Array): void;
  /** Count up an index of its ring. */
  move(index: RingIndex, by: number): void;
  /** What has become of its connection: `closed`, `ring error 3`; `nothing` while the daemon still waits. */
  fate(): string | Promise<string>;
}
export type RingIndex = 'req_prod' | 'rsp_cons';

/** A daemon and what is around it. */
export interface Stage {
  dom0(): StageClient | Promise<StageClient>;
  /** Domain `id`, introduced, with a page of its own. */
  domain(id: number): StageClient | Promise<StageClient>;
  /** Does `verb` of a `door` line. Returns why not, when the daemon does not know of such a thing. */
  door(verb: string, id: number, reason: number): string | undefined | Promise<string | undefined>;
  clock(seconds: number): void;
}

/** The type of a frame that stands for the end of a connection, and says why. */
export const ENDED = -1;

interface Sent {
  readonly type: number;
  readonly req_id: number;
  readonly tx_id: number;
}

export class Player {
  readonly #stage: Stage;
  readonly #clients = new Map<string, StageClient>();
  readonly #transactions = new Map<string, number>();

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Do a line; returns what its client was sent, or undefined when that is as expected. */
  async play(line: Line, expected = line.expected): Promise<string[] | undefined> {
    if (line.who === 'clock') {
      this.#stage.clock(Number(line.request.replace(/s$/, '')));
      return undefined;
    }
    const [, opened] = /^\$(T[0-9]+)\|$/.exec(expected[0] ?? '') ?? [];
    const got = await this.ask(line, opened);
    const wanted = expected.map(text => expand(text.replaceAll('{n}', String(line.n))));
    const same = got.length === wanted.length && wanted.every((want, i) => matches(want, got[i] ?? ''));
    return same ? undefined : got;
  }

  /** Do a line of a client or a `door`; returns what came of it. `opens`: the transaction that it begins, if it does. */
  async ask(line: Line, opens?: string): Promise<string[]> {
    const { who, request } = line;
    if (who === 'door') {
      const refusal = await this.#door(request);
      return refusal === undefined ? [] : [refusal];
    }
    const client = await this.#client(who);
    const [, act, index, by] = /^(claims|moves) ?(req_prod|rsp_cons)? ([0-9]+)$/.exec(request) ?? [];
    if (act !== undefined) {
      if (index) client.move(index as RingIndex, Number(by));
      // A lie in rsp_cons shows when there is something to say.
      if (index === 'rsp_cons') client.send(pvbus.XS_READ, '/\0', 0);
      else if (!index) client.raw(headerClaiming(Number(by)));
      this.#clients.delete(who); // nobody is answered on it any more
      return [await client.fate()];
    }
    const sent = request === 'hears' ? undefined : this.#send(client, line);
    const frames = await client.take();
    const got = frames.map(frame => describe(frame, sent));
    const [, released] = /^RELEASE ([0-9]+)\|$/.exec(request) ?? [];
    if (released !== undefined && got.at(-1) === 'OK\0') this.#clients.delete(`dom${released}`); // nobody answers it now
    const at = frames.findIndex(frame => frame.req_id === sent?.req_id);
    const [, id] = /^([1-9][0-9]*)\0$/.exec(got[at] ?? '') ?? [];
    if (opens !== undefined && id !== undefined) {
      this.#transactions.set(opens, Number(id));
      got[at] = `$${opens}\0`;
    }
    return got;
  }

  /** What clients were sent beyond what was asked for, by who. */
  async leftOver(): Promise<Map<string, string[]>> {
    const left = new Map<string, string[]>();
    for (const [who, client] of this.#clients) {
      const got = (await client.take()).map(frame => describe(frame, undefined));
      if (got.length > 0) left.set(who, got);
    }
    return left;
  }

  async #client(who: string): Promise<StageClient> {
    let client = this.#clients.get(who);
    if (!client) {
      const [, id] = /^dom([1-9][0-9]*)$/.exec(who) ?? [];
      client = await (id === undefined ? this.#stage.dom0() : this.#stage.domain(Number(id)));
      this.#clients.set(who, client);
    }
    return client;
  }

  #send(client: StageClient, { tx, request }: Line): Sent {
    const [, name = '', body = ''] = /^(\S+) ?(.*)$/s.exec(request) ?? [];
    const type = name.startsWith('#') ? Number(name.slice(1)) : TYPES.get(name);
    if (type === undefined) throw new Error(`no message ${name}`);
    const tx_id = tx === '-' ? 0 : (this.#transactions.get(tx) ?? Number(tx));
    if (Number.isNaN(tx_id)) throw new Error(`no transaction ${tx}`);
    return { type, tx_id, req_id: client.send(type, expand(body), tx_id) };
  }

  async #door(act: string): Promise<string | undefined> {
    const [verb = '', id, reason] = act.split(' ');
    if (verb === 'destroys') this.#clients.delete(`dom${id}`);
    if (verb !== 'introduces') return this.#stage.door(verb, Number(id), Number(reason));
    try {
      await this.#client(`dom${id}`);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }
}

/** The header of a READ of `len` bytes, without a byte of them. */
function headerClaiming(len: number): Uint8Array {
  const bytes = pvbus.xenstoreFrame(pvbus.XS_READ, 1, 0, new Uint8Array(0));
  new DataView(bytes.buffer).setUint32(pvbus.xsd_sockmsg.at.len, len, true);
  return bytes;
}

function expand(text: string): string {
  return text
    .replace(/\{(.+?)\*([0-9]+)\}/g, (_, what: string, n: string) => what.repeat(Number(n)))
    .replaceAll('""', '')
    .replaceAll('|', '\0');
}

/** A frame as a transcript writes it. One that is no answer to `sent`, and no event, says so. */
export function describe(frame: ReceivedFrame, sent: Sent | undefined): string {
  const text = frame.payload.toString('latin1');
  const { type, req_id, tx_id } = frame;
  if (type === ENDED) return text;
  if (type === pvbus.XS_WATCH_EVENT && req_id === 0 && tx_id === 0) return `EVENT ${text}`;
  const answers = sent !== undefined && req_id === sent.req_id && (type === sent.type || type === pvbus.XS_ERROR);
  if (!answers) return `#${type} ${req_id} ${tx_id} ${text}`;
  const answer = type === pvbus.XS_ERROR ? text.replace(/\0$/, '') : text;
  return tx_id === sent.tx_id ? answer : `${answer} in transaction ${tx_id}`;
}

function matches(want: string, got: string): boolean {
  if (want === got) return true;
  if (want === '<text>') return got.length > 0;
  if (want === '<error>') return /^E[A-Z0-9]+$/.test(got);
  const pattern = want.replace(/[.+?^${}()[\]\\]/g, '\\$&').replaceAll('*', '[0-9]+');
  return new RegExp(`^${pattern}$`, 's').test(got);
}
