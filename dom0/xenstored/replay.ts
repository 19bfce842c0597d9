// The inputs of a journal, done again on a new daemon.
import { domid, type Log, XenError } from '#pvbus';
import { type JournalRecord, readHeader, recordsOf } from '../journal-file.ts';
import {
  ASKED,
  COMMIT,
  DOMAINS,
  FORMAT,
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

/** Brings a new server to where a journal ends, also one that is still being written. */
export class Replay {
  readonly #server: Server;
  readonly #log: Log;
  readonly #nodes = new TreeBuilder();
  #snapshotEnd = 0;
  #end = 0;
  #records = 0;

  constructor(server: Server, log: Log) {
    this.#server = server;
    this.#log = log;
  }
  /** Records after the snapshot. */
  get records(): number {
    return this.#records;
  }
  /** Bytes of the journal that were whole so far. */
  get end(): number {
    return this.#end;
  }
  /** And those of them that are the snapshot; 0 while it is not complete. */
  get snapshotEnd(): number {
    return this.#snapshotEnd;
  }

  /** `bytes`: of the journal, from `end` on. Throws EINVAL when it is none, or of another version. */
  take(bytes: Uint8Array): void {
    const start = this.#end;
    if (start === 0) this.#end = readHeader(bytes, FORMAT);
    // invariant: what was asked for an input comes before it. Answers whose input is torn have never happened: the next
    // input would be repeated with them.
    let asked: JournalRecord[] = [];
    for (const record of recordsOf(bytes, this.#end - start)) {
      if (record.kind === ASKED && this.#snapshotEnd > 0) {
        asked.push(record);
        continue;
      }
      const end = start + record.end;
      try {
        if (this.#snapshotEnd > 0) {
          for (const each of [...asked, record]) repeat(this.#server, each, this.#log);
          this.#records += asked.length + 1;
          asked = [];
        } else this.#snapshot(record, end);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new XenError('EINVAL', `a journal whose record before byte ${end} cannot be repeated: ${why}`, error);
      }
      this.#end = end;
    }
  }
  #snapshot({ kind, body }: JournalRecord, end: number): void {
    if (kind === NODES) this.#nodes.add(readData(body) as Parameters<TreeBuilder['add']>[0]);
    else if (kind === STATE) {
      this.#server.restore(this.#nodes.finish(), readData(body) as ServerState);
      this.#snapshotEnd = end;
    } else throw new Error(`it begins with kind ${kind}`);
  }
}

function repeat(server: Server, { kind, body, view }: JournalRecord, log: Log): void {
  const repeater = repeaters.get(kind);
  if (!repeater) throw new Error(`there is no kind ${kind}`);
  repeater(server, body, view, log);
}

type Repeater = (server: Server, body: Uint8Array, view: DataView, log: Log) => void;

const repeaters = new Map<number, Repeater>([
  [
    RING,
    (server, body, view, log) => {
      const { domid: id, used, total, chunk } = readRing(body, view);
      const { ring, connection } = server.domains.get(domid(id));
      ring.answer(chunk, used);
      // We are wrong: the same requests have had other answers.
      if (connection.output.total !== total) log.error(`journal: dom${id} was answered otherwise than it was before`);
    },
  ],
  [
    GIVEN,
    (server, _, view) => {
      const { domid: id, value } = readPair(view);
      server.domains.get(domid(id)).ring.wasGiven(value);
    },
  ],
  [
    RESET,
    (server, _, view) => {
      const { domid: id, value } = readPair(view);
      server.domains.get(domid(id)).ring.reset(value);
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
  [DOMAINS, (server, body) => server.domains.saw(readData(body) as DomainSeen[])],
]);
