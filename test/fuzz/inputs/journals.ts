// A journal of a daemon that is gone, as a disk or a power loss may have left it: bytes changed, cut, doubled, records moved or
// with a right sum and anything in them. The next daemon never stops for it: it refuses what is no journal, in a line that says so,
// and leaves it as it is; else it is where the first one was after some of its records, whole transactions, says what it has cut
// off, and serves.
import { crc32 } from 'node:zlib';
import { XenError, XS_INTRODUCE, XS_MKDIR, XS_READ, XS_TRANSACTION_END, XS_TRANSACTION_START, XS_WRITE } from '#pvbus';
import { find } from '../../../dom0/xenstored/store.ts';
import { MemoryDisk } from '../../support/memory-journal.ts';
import fc from '../../support/properties.ts';
import { DomainClient, type RigClient, XenstoreRig } from '../../support/xenstore-rig.ts';

const PAIRS = 4;
const HEADER = 16;
const RECORD = 8;

function ask(client: RigClient, type: number, payload: string, tx_id = 0): string {
  client.send(type, payload, tx_id);
  return client.next()?.payload.toString('latin1') ?? 'no answer';
}

/** Somebody who keeps a pair of nodes alike, by transactions. */
const acts = fc.array(
  fc.record({
    who: fc.nat(2),
    pair: fc.nat(PAIRS - 1),
    value: fc.nat(999),
    what: fc.constantFrom('pair', 'pair', 'log'),
  }),
  { minLength: 1, maxLength: 25 },
);
const damage = fc.oneof(
  fc.record({ how: fc.constant('flip' as const), at: fc.nat(1 << 20), bits: fc.integer({ min: 1, max: 255 }) }),
  fc.record({ how: fc.constant('cut' as const), at: fc.nat(1 << 20), bits: fc.constant(0) }),
  fc.record({ how: fc.constant('zeros' as const), at: fc.nat(1 << 20), bits: fc.nat(255) }),
  fc.record({ how: fc.constant('rubbish' as const), at: fc.nat(1 << 20), bits: fc.nat(255) }),
  fc.record({ how: fc.constant('length' as const), at: fc.nat(1 << 20), bits: fc.nat(255) }),
);
type Damage = typeof damage extends fc.Arbitrary<infer D> ? D : never;

/** Where each record begins. */
function recordsOf(bytes: Buffer): number[] {
  const found: number[] = [];
  for (let at = HEADER; at + RECORD < bytes.length; at += RECORD + bytes.readUInt32LE(at)) found.push(at);
  return found;
}

function damaged(good: Buffer, { how, at, bits }: Damage): Buffer {
  if (good.length <= HEADER + RECORD) return good;
  const bytes = Buffer.from(good);
  const where = at % bytes.length;
  if (how === 'flip') bytes[where]! ^= bits;
  else if (how === 'cut') return bytes.subarray(0, where);
  // A file that has its length, and of its last pages nothing.
  else if (how === 'zeros') bytes.fill(0, where);
  else if (how === 'rubbish') return Buffer.concat([bytes, Buffer.alloc(1 + (at % 40), bits)]);
  else {
    const records = recordsOf(bytes);
    bytes.writeUInt32LE([0, 1, 0x7fffffff, 0xffffffff, bits][at % 5]!, records[at % records.length]!);
  }
  return bytes;
}

/** Plays `list` to a new daemon. How all was after each act, and the disk. */
function played(list: readonly { who: number; pair: number; value: number; what: string }[]) {
  const disk = new MemoryDisk();
  const rig = new XenstoreRig(disk);
  const clients: RigClient[] = [rig.dom0()];
  for (const id of [1, 2]) {
    const { page } = rig.door.create(id);
    ask(clients[0]!, XS_INTRODUCE, `${id}\x001000\x001\0`);
    clients.push(new DomainClient(rig, id, page));
    ask(clients[0]!, XS_MKDIR, `/local/domain/${id}\0`);
  }
  const history = [stateOf(rig)];
  const write = (client: RigClient, pair: number, value: string): void => {
    const id = Number.parseInt(ask(client, XS_TRANSACTION_START, '\0'), 10);
    for (const end of ['left', 'right']) ask(client, XS_WRITE, `/pairs/${pair}/${end}\0${value}`, id);
    ask(client, XS_TRANSACTION_END, 'T\0', id);
    history.push(stateOf(rig));
  };
  for (let pair = 0; pair < PAIRS; pair++) write(clients[0]!, pair, '-');
  for (const { who, pair, value, what } of list) {
    // Domains are refused, and what they ask is in the journal all the same.
    const client = clients[who]!;
    if (what === 'pair') write(client, pair, String(value));
    else {
      ask(client, XS_WRITE, `/log\0${value}`);
      history.push(stateOf(rig));
    }
  }
  return { rig, disk, history };
}
function stateOf({ server }: XenstoreRig): string {
  const values = ['/log'];
  for (let pair = 0; pair < PAIRS; pair++) values.push(`/pairs/${pair}/left`, `/pairs/${pair}/right`);
  return values.map(path => find(server.store.tree, path)?.value ?? '?').join(' ');
}

/** A daemon on what `disk` has. False when it refuses that, which stays as it is. */
function successor(rig: XenstoreRig, disk: MemoryDisk): boolean {
  const before = Buffer.from(disk.file!.bytes);
  rig.log.lines.length = 0;
  try {
    rig.restart();
  } catch (error) {
    if (!(error instanceof XenError) || error.code !== 'EINVAL') throw error;
    if (!/^(this is not )?a journal /.test(error.message)) throw new Error(`it says: ${error.message}`);
    if (!before.equals(disk.file!.bytes)) throw new Error('it has written over what it has refused');
    return false;
  }
  rig.run();
  if (disk.file!.bytes.length < before.length && !rig.log.lines.some(line => line.includes('cut off its last')))
    throw new Error('it says nothing of it');
  return true;
}

function serves(rig: XenstoreRig): void {
  const dom0 = rig.dom0();
  if (ask(dom0, XS_WRITE, '/after\0yes') !== 'OK\0' || ask(dom0, XS_READ, '/after\0') !== 'yes')
    throw new Error('it does not serve');
  const wrong = rig.server.check();
  if (wrong !== undefined) throw new Error(wrong);
}

export const tornJournals = fc.property(acts, fc.array(damage, { minLength: 1, maxLength: 3 }), (list, how) => {
  const { rig, disk, history } = played(list);
  disk.file!.bytes = how.reduce(damaged, Buffer.from(disk.file!.bytes));
  if (!successor(rig, disk)) return;
  const state = stateOf(rig);
  if (!history.includes(state)) throw new Error(`it is where nobody was: ${state}`);
  serves(rig);
  const once = stateOf(rig);
  if (!successor(rig, disk) || stateOf(rig) !== once) throw new Error('its own journal says something else');
});

const kinds = fc.nat(12);
const forged = fc.array(
  fc.record({ at: fc.nat(1 << 16), kind: kinds, body: fc.uint8Array({ maxLength: 40 }), how: fc.nat(3) }),
  { minLength: 1, maxLength: 4 },
);
function record(kind: number, body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(RECORD + 1 + body.length);
  bytes.writeUInt32LE(1 + body.length, 0);
  bytes[RECORD] = kind;
  bytes.set(body, RECORD + 1);
  bytes.writeUInt32LE(crc32(bytes.subarray(RECORD)), 4);
  return bytes;
}
export const forgedJournals = fc.property(acts, forged, (list, records) => {
  const { rig, disk } = played(list);
  let bytes = Buffer.from(disk.file!.bytes);
  for (const { at, kind, body, how } of records) {
    const starts = recordsOf(bytes);
    const from = starts[at % starts.length]!;
    const to = from + RECORD + bytes.readUInt32LE(from);
    // One more, another in its place, one that is missing, or one byte of it.
    const whole = Buffer.from(bytes.subarray(from + RECORD, to));
    if (how === 3 && body.length > 1) whole[body[0]! % whole.length] = body[1]!;
    const middle = how === 2 ? [] : [how === 3 ? record(whole[0]!, whole.subarray(1)) : record(kind, body)];
    bytes = Buffer.concat([bytes.subarray(0, from), ...middle, bytes.subarray(how === 0 ? from : to)]);
  }
  disk.file!.bytes = bytes;
  if (successor(rig, disk)) ask(rig.dom0(), XS_READ, '/log\0');
});
