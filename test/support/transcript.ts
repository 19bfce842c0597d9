// Plays a xenstore conversation written as a table against a daemon in this thread.
//
//   who   tx   request            what it then receives, in order
//   dom0  -    WATCH /a|t|        OK|  EVENT /a|t|
//   dom3  T1   READ data          ENOENT
//   dom5  -    hears              EVENT /a|t|
//
// Columns are two or more spaces apart; `|` is a NUL byte. A reply of a bare error name is an XS_ERROR.
// `$T1` in the reply of TRANSACTION_START names that transaction; `*` is any number; `""` is nothing;
// `{x*40}` is 40 times x. `door` and `clock` lines are what happens around the daemon. Everything that a
// client was sent must be written down: what is left over at the end is a failure.
import * as pvbus from '#pvbus';
import * as newer from '../../dom0/xenstored/newer-wire.ts';
import { type DomainClient, type ReceivedFrame, type RigClient, XenstoreRig } from './xenstore-rig.ts';

const TYPES = new Map(
  Object.entries({ ...pvbus, ...newer })
    .filter(([name, value]) => name.startsWith('XS_') && typeof value === 'number')
    .map(([name, value]) => [name.slice(3), value as number]),
);

class Player {
  readonly rig = new XenstoreRig();
  readonly #clients = new Map<string, RigClient>();
  readonly #transactions = new Map<string, number>();

  line(text: string): void {
    const [who = '', tx = '-', request = '', ...expected] = text.trim().split(/ {2,}/);
    if (who === 'door') {
      this.#door(request);
      return;
    }
    if (who === 'clock') {
      this.rig.clock.advance(Number(request.replace(/s$/, '')) * 1e9);
      this.rig.server.checkStalled();
      return;
    }
    const client = this.#client(who);
    if (request !== 'hears') this.#request(client, tx, request, expected);
    const got = client.take().map(frame => describe(frame));
    const wanted = expected.map(e => this.#expand(e));
    const same = got.length === wanted.length && wanted.every((want, i) => matches(want, got[i] ?? ''));
    if (!same) throw new Error(`expected ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}`);
  }

  finish(): void {
    for (const [who, client] of this.#clients) {
      const left = client.take();
      if (left.length > 0) throw new Error(`${who} was also sent ${JSON.stringify(left.map(describe))}`);
    }
    const wrong = this.rig.server.check();
    if (wrong !== undefined) throw new Error(`the store is damaged: ${wrong}`);
    const errors = this.rig.log.lines.filter(line => line.startsWith('error'));
    if (errors.length > 0) throw new Error(`logged: ${errors.join('; ')}`);
  }

  #client(who: string): RigClient {
    let client = this.#clients.get(who);
    if (!client) {
      const [, id] = /^dom([1-9][0-9]*)$/.exec(who) ?? [];
      client = id === undefined ? this.rig.dom0() : this.rig.domain(Number(id));
      this.#clients.set(who, client);
    }
    return client;
  }

  #request(client: RigClient, tx: string, request: string, expected: string[]): void {
    const [, name = '', body = ''] = /^(\S+) ?(.*)$/.exec(request) ?? [];
    const type = name.startsWith('#') ? Number(name.slice(1)) : TYPES.get(name);
    if (type === undefined) throw new Error(`no message ${name}`);
    const named = expected.findIndex(e => /^\$T[0-9]+\|$/.test(e));
    const tx_id = tx === '-' ? 0 : (this.#transactions.get(tx) ?? Number(tx));
    if (Number.isNaN(tx_id)) throw new Error(`no transaction ${tx}`);
    client.send(type, this.#expand(body), tx_id);
    if (named < 0) return;
    client.collect();
    const id = client.frames[named]?.payload.toString('latin1').slice(0, -1);
    this.#transactions.set((expected[named] ?? '').slice(1, -1), Number(id));
    expected[named] = `${id}|`;
  }

  #door(act: string): void {
    const [verb, id, reason] = act.split(' ');
    const { door } = this.rig;
    if (verb === 'creates') door.create(Number(id));
    else if (verb === 'introduces') this.#client(`dom${id}`);
    else if (verb === 'shuts-down') door.shutDown(Number(id), Number(reason));
    else if (verb === 'destroys') {
      door.destroy(Number(id));
      this.#clients.delete(`dom${id}`);
    } else if (verb === 'reconnects') {
      const { page } = this.#client(`dom${id}`) as DomainClient;
      pvbus.requestReconnect(page, () => door.fromDomain(Number(id)));
      this.rig.run();
    } else throw new Error(`door: ${act}`);
    this.rig.run();
  }

  #expand(text: string): string {
    return text
      .replace(/\{(.+?)\*([0-9]+)\}/g, (_, what: string, n: string) => what.repeat(Number(n)))
      .replaceAll('""', '')
      .replaceAll('|', '\0');
  }
}

function describe(frame: ReceivedFrame): string {
  const text = frame.payload.toString('latin1');
  if (frame.type === pvbus.XS_WATCH_EVENT) return `EVENT ${text}`;
  if (frame.type === pvbus.XS_ERROR) return text.replace(/\0$/, '');
  return text;
}

function matches(want: string, got: string): boolean {
  const pattern = want.replace(/[.+?^${}()[\]\\]/g, '\\$&').replaceAll('*', '[0-9]+');
  return new RegExp(`^${pattern}$`, 's').test(got);
}

/** Throws, naming the line, when the daemon does not do as the table says. */
export function playTranscript(text: string): void {
  const player = new Player();
  const lines = text.split('\n');
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    try {
      player.line(line);
    } catch (error) {
      throw new Error(`line ${i + 1}: ${line.trim()}\n${error instanceof Error ? error.message : error}`);
    }
  }
  player.finish();
}
