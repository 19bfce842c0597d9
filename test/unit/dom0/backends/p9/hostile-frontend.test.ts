// untrusted: everything a frontend writes into its rings. A broken one costs the guest its folder, and nobody else anything.
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { domid, P9, P9_NOFID, P9_VERSION, P9Writer, pvcalls_data_intf, type XenError } from '#pvbus';
import { P9Connection } from '../../../../../dom0/backends/p9/connection.ts';
import { DataRings } from '../../../../../domu-kernel/drivers/data-rings.ts';
import { CoreRig } from '../../../../support/core-rig.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'xenolith-p9-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function connected(count = 1) {
  const core = new CoreRig();
  const guest = core.guest({ pages: 1024 });
  const [front, back] = [guest.kernel(), core.dom0.kernel(4)];
  const rings = new DataRings(front, domid(0), 4);
  const made = Array.from({ length: count }, () => rings.make(() => {}));
  const fatal: XenError[] = [];
  const connect = () =>
    new P9Connection({
      vcpu: back,
      frontend: domid(guest.domid),
      label: '9pfs 0 of dom1',
      path: folder,
      readOnly: false,
      rings: made.map(({ ref, port }) => ({ ref, evtchn: port })),
      onFatal: error => fatal.push(error),
    });
  const send = (bytes: Uint8Array, ring = made[0]!): void => {
    ring.writer.write(bytes);
    ring.notify();
    back.events.poll();
  };
  return { core, made, fatal, connect, send };
}
const version = (): Uint8Array => new P9Writer(64).begin(P9.Tversion, 0xffff).u32(32768).string(P9_VERSION).end();
/** Descriptors of what is shared. */
function openFiles(): number {
  const linkOf = (fd: string): string => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the listing's own
    }
  };
  return readdirSync('/proc/self/fd').filter(fd => linkOf(fd).startsWith(folder)).length;
}
const attach = (): Uint8Array =>
  new P9Writer(64).begin(P9.Tattach, 1).u32(0).u32(P9_NOFID).string('').string('').u32(0).end();

it.each([
  ['shorter than its header', new Uint8Array([6, 0, 0, 0, 100, 1, 0])],
  ['of no length', new Uint8Array(7)],
  ['longer than the ring', new Uint8Array([1, 128, 0, 0, 100, 1, 0])],
  ['of 4 GiB', new Uint8Array([255, 255, 255, 255, 100, 1, 0])],
  ['that is cut off inside', new P9Writer(64).begin(P9.Tversion, 1).u32(8192).u16(40).end()],
  ['before the version is agreed', new P9Writer(64).begin(P9.Tclunk, 1).u32(0).end()],
])('a message %s ends the connection, and leaves nothing of it', (_what, bytes) => {
  const { connect, send, fatal, made } = connected();
  const connection = connect();
  if (bytes[4] !== P9.Tclunk) {
    send(version());
    send(attach());
    while (connection.step() === 'progress');
    expect(openFiles()).toBe(1);
  }
  send(bytes);
  while (connection.step() === 'progress');
  expect(fatal.map(({ code }) => code)).toEqual(['EPROTO']);
  expect(fatal[0]!.message).toMatch(/^9pfs 0 of dom1: /);
  expect(openFiles()).toBe(0);
  expect(made.map(ring => ring.free())).toEqual([true]); // nothing is mapped any more
});

it('impossible indices end the connection, wherever they are', () => {
  for (const [word, value] of [
    ['out_prod', 0x4000_0000],
    ['in_cons', 0x4000_0000],
  ] as const) {
    const { connect, send, fatal, made } = connected();
    const connection = connect();
    const { words } = made[0]!.writer as unknown as { words: Int32Array };
    send(version());
    words[pvcalls_data_intf.at[word] / 4] = value;
    while (connection.step() === 'progress');
    expect(fatal.map(({ code }) => code)).toEqual(['EPROTO']);
    expect(made[0]!.free()).toBe(true);
  }
});

it('a message that comes byte by byte is answered when it is whole', () => {
  const { connect, send, made, fatal } = connected();
  const connection = connect();
  for (const byte of version()) {
    expect(made[0]!.reader.readable()).toBe(0);
    send(Uint8Array.of(byte));
    while (connection.step() === 'progress');
  }
  expect(made[0]!.reader.readable()).toBe(version().length);
  expect(fatal).toEqual([]);
  connection.close();
});

it('answers that nobody takes wait, and hold up neither the other ring nor the thread', () => {
  const { connect, send, made, fatal } = connected(2);
  const connection = connect();
  const [stuck, other] = [made[0]!, made[1]!];
  for (let n = 0; n < 4000; n++) {
    send(version(), stuck);
    connection.step();
  }
  expect(stuck.reader.readable()).toBe(stuck.reader.size);
  send(version(), other);
  while (connection.step() === 'progress');
  expect(other.reader.readable()).toBe(version().length);
  expect(fatal).toEqual([]);
  // What waited comes when there is room, whole.
  const all = new Uint8Array(stuck.reader.size);
  expect(stuck.reader.read(all)).toBe(all.length);
  send(new Uint8Array(0), stuck);
  while (connection.step() === 'progress');
  expect(stuck.reader.readable()).toBeGreaterThan(0);
  connection.close();
});

it('a ring or port that is not the frontend’s to give fails the connection, with nothing left mapped', () => {
  const { core, made, fatal } = connected();
  const attempt = (ref: number, evtchn: number) => () =>
    new P9Connection({
      ...{ vcpu: core.dom0.kernel(4), frontend: domid(1), label: 'x', path: folder, readOnly: false },
      rings: [{ ref, evtchn }],
      onFatal: error => fatal.push(error),
    });
  expect(attempt(0x7fff_ffff, made[0]!.port)).toThrow();
  expect(attempt(made[0]!.ref, 4000)).toThrow();
  expect(made[0]!.free()).toBe(true);
});
