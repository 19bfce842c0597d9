// What a killed daemon leaves its successor: a snapshot, then every input since. The state of the daemon is the
// fold of its inputs, so the successor does them again, and each has the effect and the reply it had before.
import { type Clock, type Log, XenError } from '#pvbus';
import { Batch, type JournalDisk, type JournalFile } from '../journal-file.ts';
import type { Connection } from './connection.ts';
import {
  ASKED,
  COMMIT,
  DOMAINS,
  FORMAT,
  GIVEN,
  NODES,
  putData,
  putPair,
  putRequest,
  putRing,
  RESET,
  STATE,
} from './journal-records.ts';
import type { DomainSeen, Outcome, Recorder } from './recorder.ts';
import { Replay } from './replay.ts';
import type { Server } from './server.ts';
import { nodePieces } from './snapshot.ts';
import type { Operation } from './store.ts';

/**
 * A snapshot is made anew when the records since have become larger than it, and than this many bytes: a
 * successor repeats them all before it serves.
 */
const COMPACT_BYTES = 64 * 1024;
/** What was written is made to outlive the machine so often. */
const SYNC_NS = 1e9;

/** A snapshot that is being written, beside the journal that counts until it is complete. */
interface Compaction {
  readonly file: JournalFile;
  readonly pieces: Generator<unknown>;
  /** All that is not nodes, as it was when the snapshot was begun. */
  readonly state: unknown;
  /** What was recorded since. */
  tail: Uint8Array[];
  phase: 'nodes' | 'sync' | 'synced';
}

export interface JournalParts {
  readonly clock: Clock;
  readonly log: Log;
}

/** Records nothing until it is told where. */
export class Journal implements Recorder {
  readonly #parts: JournalParts;
  readonly #batch = new Batch();
  #server: Server | undefined;
  #disk: JournalDisk | undefined;
  #file: JournalFile | undefined;
  #compaction: Compaction | undefined;
  /** Bytes of records since the snapshot. */
  #records = 0;
  #snapshotBytes = 0;
  #frozen = false;
  /** Kept only for who reads it now. */
  #temporary = false;
  #unsynced = false;
  #syncing = false;
  #nextSync = 0;
  #failed = false;

  constructor(parts: JournalParts) {
    this.#parts = parts;
  }

  /** Keep what happens to `server` from here on, whatever `disk` held. */
  begin(server: Server, disk: JournalDisk): void {
    this.#server = server;
    this.#disk = disk;
    this.#snapshot();
    while (this.#compaction?.phase === 'nodes') this.#write(this.#compaction);
    this.#switch();
  }

  /**
   * Bring `server`, which is new, to where its predecessor was, if there was one, and keep what happens from here
   * on. Throws EINVAL when there is a journal that cannot be read; it stays as it is.
   */
  recover(server: Server, disk: JournalDisk): void {
    const { log } = this.#parts;
    const bytes = disk.read();
    if (bytes === undefined) {
      this.begin(server, disk);
      return;
    }
    const replay = new Replay(server, log);
    replay.take(bytes);
    if (replay.snapshotEnd === 0) throw new XenError('EINVAL', 'a journal without a complete snapshot');
    if (replay.end < bytes.length)
      log.warn(`journal: cut off its last ${bytes.length - replay.end} bytes, which are damaged`);
    this.goOn(server, disk, replay);
    server.goOn();
    log.info(`journal: went on after ${replay.records} records`);
    this.flush();
  }

  /** Write where `replay` has come to an end. */
  goOn(server: Server, disk: JournalDisk, { end, snapshotEnd }: Replay): void {
    this.#server = server;
    this.#disk = disk;
    this.#file = disk.open(end);
    this.#snapshotBytes = snapshotEnd;
    this.#records = end - snapshotEnd;
  }

  // ---- read by another while it is written ----

  /** From here on there is one file, which only grows: its length, or undefined while that is not yet so. */
  freeze(server: Server, elsewhere: JournalDisk): number | undefined {
    if (!this.#server) {
      this.#server = server;
      this.#disk = elsewhere;
      this.#temporary = true;
    }
    if (!this.#file || this.#compaction) return undefined;
    this.#frozen = true;
    return this.#snapshotBytes + this.#records;
  }
  /** There is nobody who reads it any more. */
  thaw(): void {
    this.#frozen = false;
    if (!this.#temporary) return;
    this.#temporary = false;
    this.#drop();
    this.#file?.close();
    this.#file = undefined;
    this.#disk?.remove();
    this.#server = undefined;
    this.#batch.clear();
  }

  // ---- recording ----

  ring(client: Connection, chunk: Uint8Array, used: number): void {
    if (this.#server) putRing(this.#batch, client.actor.domid, chunk, used, client.output.total);
  }
  given(domid: number, bytes: number): void {
    if (this.#server && bytes > 0) putPair(this.#batch, GIVEN, domid, bytes);
  }
  reset(domid: number, bad: number): void {
    if (this.#server) putPair(this.#batch, RESET, domid, bad);
  }
  request(type: number, payload: Uint8Array): void {
    if (this.#server) putRequest(this.#batch, type, payload);
  }
  commit(operations: readonly Operation[]): void {
    if (this.#server) putData(this.#batch, COMMIT, operations);
  }
  asked(outcome: Outcome): void {
    if (this.#server) putData(this.#batch, ASKED, outcome);
  }
  domains(seen: readonly DomainSeen[]): void {
    if (this.#server) putData(this.#batch, DOMAINS, seen);
  }

  flush(): void {
    const { bytes } = this.#batch;
    if (bytes.length === 0) return;
    if (this.#file) {
      try {
        this.#file.append(bytes);
        this.#records += bytes.length;
        this.#unsynced = true;
      } catch (error) {
        this.#fail(error);
      }
    }
    this.#compaction?.tail.push(bytes.slice());
    this.#batch.clear();
  }

  /** A journal that misses something is worse than none: it would bring back what has changed since. */
  #fail(error: unknown): void {
    const { log } = this.#parts;
    const why = diskError(error);
    if (!this.#failed) log.error(`journal: ${why}; nothing is kept now`);
    this.#failed = true;
    this.#file?.close();
    this.#file = undefined;
    this.#drop();
    try {
      this.#disk?.remove();
    } catch (second) {
      log.error(`journal: ${diskError(second)}`);
    }
  }

  // ---- the snapshot ----

  step(): 'progress' | 'idle' {
    const { clock } = this.#parts;
    const now = clock.now();
    if (this.#unsynced && !this.#syncing && now >= this.#nextSync) this.#sync(now);
    const compaction = this.#compaction;
    if (!compaction) {
      if (!this.#server || this.#frozen) return 'idle';
      const due = this.#file ? this.#records > Math.max(COMPACT_BYTES, this.#snapshotBytes) : now >= this.#nextSync;
      if (!due) return 'idle';
      this.#nextSync = now + SYNC_NS;
      this.#snapshot();
      return 'progress';
    }
    if (compaction.phase === 'sync') return 'idle';
    if (compaction.phase === 'nodes') this.#write(compaction);
    else this.#switch();
    return 'progress';
  }

  #sync(now: number): void {
    this.#unsynced = false;
    this.#syncing = true;
    this.#nextSync = now + SYNC_NS;
    this.#file?.sync(error => {
      this.#syncing = false;
      if (error) this.#parts.log.warn(`journal: fdatasync: ${error.message}`);
    });
  }

  /** Begin a new snapshot. */
  #snapshot(): void {
    const server = this.#server;
    const disk = this.#disk;
    if (!server || !disk) return;
    this.flush();
    try {
      const file = disk.create();
      const batch = new Batch();
      batch.header(FORMAT);
      file.append(batch.bytes);
      this.#compaction = {
        file,
        pieces: nodePieces(server.store.tree.root),
        state: server.state(),
        tail: [],
        phase: 'nodes',
      };
      this.#snapshotBytes = batch.length;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The next piece of the snapshot. */
  #write(compaction: Compaction): void {
    const batch = new Batch();
    const { value: piece, done } = compaction.pieces.next();
    if (done) putData(batch, STATE, compaction.state);
    else putData(batch, NODES, piece);
    try {
      compaction.file.append(batch.bytes);
      this.#snapshotBytes += batch.length;
    } catch (error) {
      if (!this.#file) this.#fail(error);
      else this.#parts.log.warn(`journal: no new snapshot: ${diskError(error)}`);
      this.#drop();
      return;
    }
    if (!done) return;
    compaction.phase = 'sync';
    compaction.file.sync(error => {
      if (error) this.#parts.log.warn(`journal: fdatasync: ${error.message}`);
      compaction.phase = 'synced';
      this.#server?.onWork();
    });
  }

  /** The new file becomes the journal. */
  #switch(): void {
    const compaction = this.#compaction;
    const disk = this.#disk;
    if (!compaction || !disk) return;
    this.flush();
    try {
      const tail = Buffer.concat(compaction.tail);
      compaction.file.append(tail);
      disk.replace(compaction.file);
      this.#file?.close();
      this.#file = compaction.file;
      this.#compaction = undefined;
      this.#records = tail.length;
      this.#unsynced = true;
      if (this.#failed) this.#parts.log.info('journal: kept again');
      this.#failed = false;
    } catch (error) {
      this.#fail(error);
    }
  }
  #drop(): void {
    this.#compaction?.file.close();
    this.#compaction = undefined;
  }
}

/** What the disk has refused; any other error is ours, and goes on. */
function diskError(error: unknown): string {
  if (!(error instanceof Error) || !('code' in error)) throw error;
  return error.message;
}
