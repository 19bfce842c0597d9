// The inputs of a journal, done again on a new daemon.
import { domid, type Log, XenError } from '#pvbus';
import type { JournalRecord } from './journal-file.ts';
import {
  ASKED,
  COMMIT,
  DOMAINS,
  GIVEN,
  NODES,
  REQUEST,
  RESET,
  RING,
  readData,
  readPair,
  readRequest,
  readRing,
  STATE,
} from './journal-records.ts';
import type { DomainSeen, Outcome } from './recorder.ts';
import type { Server, ServerState } from './server.ts';
import { TreeBuilder } from './snapshot.ts';
import type { Operation } from './store.ts';

export interface Replayed {
  /** Records after the snapshot. */
  readonly records: number;
  /** Bytes of the journal that were whole, and those of them that are the snapshot. */
  readonly end: number;
  readonly snapshotEnd: number;
}

/** Throws EINVAL when there is no complete snapshot in front. */
export function replay(server: Server, journal: Iterable<JournalRecord>, log: Log): Replayed {
  const nodes = new TreeBuilder();
  let snapshotEnd = 0;
  let end = 0;
  let records = 0;
  for (const record of journal) {
    end = record.end;
    if (snapshotEnd > 0) {
      repeat(server, record, log);
      records++;
    } else if (record.kind === NODES) {
      nodes.add(readData(record.body) as Parameters<TreeBuilder['add']>[0]);
    } else if (record.kind === STATE) {
      server.restore(nodes.finish(), readData(record.body) as ServerState);
      snapshotEnd = end;
    } else throw new XenError('EINVAL', `a journal that begins with a record of kind ${record.kind}`);
  }
  if (snapshotEnd === 0) throw new XenError('EINVAL', 'a journal without a complete snapshot');
  return { records, end, snapshotEnd };
}

function repeat(server: Server, { kind, body, view }: JournalRecord, log: Log): void {
  const repeater = repeaters.get(kind);
  if (!repeater) throw new XenError('EINVAL', `a journal with a record of kind ${kind}`);
  repeater(server, body, view, log);
}

type Repeater = (server: Server, body: Uint8Array, view: DataView, log: Log) => void;

const repeaters = new Map<number, Repeater>([
  [
    RING,
    (server, body, view, log) => {
      const { domid: id, used, total, chunk } = readRing(body, view);
      const { ring, connection } = server.domain(domid(id));
      ring.answer(chunk, used);
      // We are wrong: the same requests have had other answers.
      if (connection.output.total !== total) log.error(`journal: dom${id} was answered otherwise than it was before`);
    },
  ],
  [
    GIVEN,
    (server, _, view) => {
      const { domid: id, value } = readPair(view);
      server.domain(domid(id)).ring.wasGiven(value);
    },
  ],
  [
    RESET,
    (server, _, view) => {
      const { domid: id, value } = readPair(view);
      server.domain(domid(id)).ring.reset(value);
    },
  ],
  [
    REQUEST,
    (server, body, view) => {
      const { type, payload } = readRequest(body, view);
      server.repeatRequest(type, payload);
    },
  ],
  [COMMIT, (server, body) => server.repeatCommit(readData(body) as Operation[])],
  [ASKED, (server, body) => server.repeatAnswer(readData(body) as Outcome)],
  [DOMAINS, (server, body) => server.sawDomains(readData(body) as DomainSeen[])],
]);
