// What the toolstack must not forget when its process dies: tables of plain data, each change of which is in a file
// before anybody is told of what it was made for. The one that takes its place reads them and goes on.
import { Packr } from 'msgpackr/pack';
import { type Log, XenError } from '#pvbus';
import {
  Batch,
  type JournalDisk,
  type JournalFile,
  type JournalFormat,
  readHeader,
  recordsOf,
} from '../journal-file.ts';

/** "xltoolst" */
const FORMAT: JournalFormat = { owner: 'the toolstack', magic: 0x74736c6f6f746c78n, version: 1 };
/** The only kind of record: a list of changes, all of which happen or none. */
const CHANGES = 1;
/** Written anew when it has become so long, and longer than what it says. */
const COMPACT_BYTES = 1 << 20;

/** Table, key, value; without a value the key goes. */
type Change = readonly [table: string, key: string | number, value?: unknown];

// Plain MessagePack; what is unpacked does not hold on to the file it came from.
const packr = new Packr({ useRecords: false, copyBuffers: true });

export class Ledger {
  readonly #disk: JournalDisk;
  readonly #log: Log;
  readonly #tables = new Map<string, Map<string | number, unknown>>();
  readonly #batch = new Batch();
  #file: JournalFile | undefined;
  #length = 0;
  /** How long it was when it was last written anew. */
  #compacted = 0;
  #failing = false;
  /** Of `together`. */
  #collected: { readonly changes: Change[]; must: boolean } | undefined;

  private constructor(disk: JournalDisk, log: Log) {
    this.#disk = disk;
    this.#log = log;
  }

  /** An empty one, whatever there was before. */
  static begin(disk: JournalDisk, log: Log): Ledger {
    const ledger = new Ledger(disk, log);
    ledger.#compact();
    return ledger;
  }
  /** The one that a toolstack has left that has ended. Throws EINVAL when it is none, or of another version. */
  static goOn(disk: JournalDisk, log: Log): Ledger {
    const bytes = disk.read();
    if (bytes === undefined) return Ledger.begin(disk, log);
    const ledger = new Ledger(disk, log);
    let end = readHeader(bytes, FORMAT);
    for (const record of recordsOf(bytes, end)) {
      if (record.kind !== CHANGES) throw new XenError('EINVAL', `a record of kind ${record.kind}`);
      for (const change of packr.unpack(record.body) as Change[]) ledger.#apply(change);
      end = record.end;
    }
    if (end < bytes.length)
      log.warn(`the toolstack's journal: its last ${bytes.length - end} bytes are damaged, and cut off`);
    ledger.#file = disk.open(end);
    ledger.#length = end;
    ledger.#compacted = 0;
    return ledger;
  }

  table<V>(name: string): Table<V> {
    return new Table(this, name, this.#of(name) as Map<string | number, V>);
  }

  /**
   * All changes that `body` makes, at once, when it has returned: also when this process dies in the middle. Throws
   * when one of them must be kept and cannot be; then none has happened.
   */
  together(body: () => void): void {
    if (this.#collected !== undefined) {
      body();
      return;
    }
    const collected = { changes: [] as Change[], must: false };
    this.#collected = collected;
    try {
      body();
    } finally {
      this.#collected = undefined;
    }
    this.#write(collected.changes, collected.must);
  }
  /** `must`: throws ENOSPC, EIO, ... when it cannot be kept, and then nothing has changed. */
  change(change: Change, must: boolean): void {
    if (this.#collected === undefined) this.#write([change], must);
    else {
      this.#collected.changes.push(change);
      this.#collected.must ||= must;
    }
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #write(changes: readonly Change[], must: boolean): void {
    if (changes.length === 0) return;
    const error = this.#append(changes);
    if (error !== undefined && must) throw error;
    for (const change of changes) this.#apply(change);
    if (this.#length > COMPACT_BYTES && this.#length > 2 * this.#compacted) this.#tryToCompact();
  }
  #append(changes: readonly Change[]): XenError | undefined {
    this.#batch.clear();
    put(this.#batch, changes);
    try {
      // What could not be kept before is in the tables: the file is to be written anew.
      if (this.#file === undefined) this.#compact();
      this.#file!.append(this.#batch.bytes);
    } catch (error) {
      const { code = 'EIO', message } = error as NodeJS.ErrnoException;
      if (!this.#failing) this.#log.error(`the toolstack's journal: ${message}`);
      this.#failing = true;
      this.close();
      return new XenError(code, `the toolstack's journal cannot be written: ${message}`, error);
    }
    if (this.#failing) this.#log.info("the toolstack's journal is written again");
    this.#failing = false;
    this.#length += this.#batch.length;
    return undefined;
  }
  #tryToCompact(): void {
    try {
      this.#compact();
    } catch (error) {
      this.#log.warn(`the toolstack's journal grows: ${error instanceof Error ? error.message : error}`);
      this.#compacted = this.#length;
    }
  }

  #apply([table, key, value]: Change): void {
    if (value === undefined) this.#of(table).delete(key);
    else this.#of(table).set(key, value);
  }
  #of(name: string): Map<string | number, unknown> {
    const table = this.#tables.get(name) ?? new Map<string | number, unknown>();
    this.#tables.set(name, table);
    return table;
  }

  /** A file with what is true now, and nothing of how that came about. */
  #compact(): void {
    const batch = new Batch();
    batch.header(FORMAT);
    // One by one: a record has a longest length, a table has none.
    for (const [table, entries] of this.#tables) for (const [key, value] of entries) put(batch, [[table, key, value]]);
    const file = this.#disk.create();
    try {
      file.append(batch.bytes);
      this.#disk.replace(file);
    } catch (error) {
      file.close();
      throw error;
    }
    this.#file?.close();
    this.#file = file;
    this.#length = batch.length;
    this.#compacted = batch.length;
  }
}

function put(batch: Batch, changes: readonly Change[]): void {
  const bytes = packr.pack(changes);
  batch.put(batch.begin(CHANGES, bytes.length), bytes);
  batch.end();
}

/** What is in it is not to be changed in place. */
export class Table<V> {
  readonly #ledger: Ledger;
  readonly #name: string;
  readonly #entries: ReadonlyMap<string | number, V>;

  constructor(ledger: Ledger, name: string, entries: ReadonlyMap<string | number, V>) {
    this.#ledger = ledger;
    this.#name = name;
    this.#entries = entries;
  }
  get(key: string | number): V | undefined {
    return this.#entries.get(key);
  }
  has(key: string | number): boolean {
    return this.#entries.has(key);
  }
  get size(): number {
    return this.#entries.size;
  }
  /** In the order in which the keys came. */
  entries(): [key: string | number, value: V][] {
    return [...this.#entries];
  }
  values(): V[] {
    return [...this.#entries.values()];
  }
  /** Throws when it cannot be kept. */
  set(key: string | number, value: V): void {
    this.#ledger.change([this.#name, key, value], true);
  }
  /** As `set`, but what cannot be kept is true all the same as long as this process lives. */
  note(key: string | number, value: V): void {
    this.#ledger.change([this.#name, key, value], false);
  }
  delete(key: string | number): void {
    if (this.#entries.has(key)) this.#ledger.change([this.#name, key], false);
  }
}
