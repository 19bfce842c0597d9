// What the records of the journal say, and how each becomes bytes.
import { Packr } from 'msgpackr/pack';
import type { Batch, JournalFormat } from '../journal-file.ts';

/** "xsjournl" */
export const FORMAT: JournalFormat = { owner: 'xenstored', magic: 0x6c6e72756f6a7378n, version: 1 };

/** A domain's request bytes: u16 domid, i16 used, u32 all its output ever, the bytes. */
export const RING = 1;
/** Reply bytes handed to a domain: u16 domid, u16 how many. */
export const GIVEN = 2;
/** A ring's new start: u16 domid, u16 XENSTORE_ERROR_*. */
export const RESET = 3;
/** A request of a socket: u32 type, the payload. */
export const REQUEST = 4;
/** A socket's transaction: its operations. */
export const COMMIT = 5;
/** An Outcome. */
export const ASKED = 6;
/** A list of DomainSeen. */
export const DOMAINS = 7;
/** Of a snapshot: nodes, parents first. */
export const NODES = 8;
/** The end of a snapshot: all that is not nodes. */
export const STATE = 9;

// Plain MessagePack; what is unpacked does not hold on to the file it came from.
const packr = new Packr({ useRecords: false, copyBuffers: true });

export function putRing(batch: Batch, domid: number, chunk: Uint8Array, used: number, total: number): void {
  const at = batch.begin(RING, 8 + chunk.length);
  batch.view.setUint16(at, domid, true);
  batch.view.setInt16(at + 2, used, true);
  batch.view.setUint32(at + 4, total, true);
  batch.put(at + 8, chunk);
  batch.end();
}
export function readRing(body: Uint8Array, view: DataView) {
  return {
    domid: view.getUint16(0, true),
    used: view.getInt16(2, true),
    total: view.getUint32(4, true),
    chunk: body.slice(8),
  };
}

/** GIVEN and RESET. */
export function putPair(batch: Batch, kind: number, domid: number, value: number): void {
  const at = batch.begin(kind, 4);
  batch.view.setUint16(at, domid, true);
  batch.view.setUint16(at + 2, value, true);
  batch.end();
}
export const readPair = (view: DataView) => ({ domid: view.getUint16(0, true), value: view.getUint16(2, true) });

export function putRequest(batch: Batch, type: number, payload: Uint8Array): void {
  const at = batch.begin(REQUEST, 4 + payload.length);
  batch.view.setUint32(at, type, true);
  batch.put(at + 4, payload);
  batch.end();
}
export const readRequest = (body: Uint8Array, view: DataView) => ({
  type: view.getUint32(0, true),
  payload: body.slice(4),
});

/** The other kinds: plain data. */
export function putData(batch: Batch, kind: number, data: unknown): void {
  const bytes = packr.pack(data);
  const at = batch.begin(kind, bytes.length);
  batch.put(at, bytes);
  batch.end();
}
/** What `putData` was given. */
export const readData = (body: Uint8Array): unknown => packr.unpack(body);
