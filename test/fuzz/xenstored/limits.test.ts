// A domain that has all it may have of everything, and the others.
import { expect, test } from 'vitest';
import {
  XS_ERROR,
  XS_MKDIR,
  XS_READ,
  XS_SET_PERMS,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WRITE,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import { type DomainClient, type RigClient, XenstoreRig } from '../../support/xenstore-rig.ts';
import { servedInTime } from './turns.ts';

function ask(client: RigClient, type: number, payload: string, tx = 0): string {
  client.send(type, payload, tx);
  const replies = client.take().filter(({ req_id }) => req_id !== 0);
  const [{ type: got, payload: bytes } = { type: -1, payload: 'nothing' }] = replies;
  return `${got === XS_ERROR ? '!' : ''}${bytes.toString()}`;
}
/** Asks until it is refused; returns how often it was not. */
function untilRefused(client: RigClient, type: number, payload: (i: number) => string, tx = 0): number {
  for (let i = 0; i < 100_000; i++) {
    const reply = ask(client, type, payload(i), tx);
    if (reply === '!ENOSPC\0' || reply === '!ENOMEM\0') return i;
    if (reply.startsWith('!') && reply !== '!ENOENT\0') throw new Error(`${type}: ${reply}`);
  }
  throw new Error(`${type} is never refused`);
}

function host(): { rig: XenstoreRig; dom0: RigClient; guest: DomainClient; neighbour: DomainClient } {
  const rig = new XenstoreRig();
  const dom0 = rig.dom0();
  const [guest, neighbour] = [rig.domain(3), rig.domain(5)];
  for (const id of [3, 5]) {
    ask(dom0, XS_MKDIR, `/local/domain/${id}\0`);
    ask(dom0, XS_SET_PERMS, `/local/domain/${id}\0b${id}\0`);
  }
  return { rig, dom0, guest, neighbour };
}

test('a domain at every limit, which reads nothing, is in nobody’s way', () => {
  const { rig, dom0, guest, neighbour } = host();
  expect(untilRefused(guest, XS_WATCH, i => `w${i}\0t\0`)).toBe(128);
  const transactions: number[] = [];
  while (transactions.length < 10) transactions.push(Number.parseInt(ask(guest, XS_TRANSACTION_START, '\0'), 10));
  expect(ask(guest, XS_TRANSACTION_START, '\0')).toBe('!ENOSPC\0');
  for (const tx of transactions) expect(untilRefused(guest, XS_READ, i => `r${i}\0`, tx)).toBeGreaterThan(0);
  const nodes = untilRefused(guest, XS_WRITE, i => `d${Math.floor(i / 50)}/${i}\0${'v'.repeat(1900)}`);
  expect(nodes).toBeGreaterThan(500);
  // Its own events too wait unread, with as many requests as its ring holds.
  for (let i = 0; i < 128; i++) ask(dom0, XS_WRITE, `/local/domain/3/w${i}\0x`);
  const { writer } = xenstoreRing(guest.page, 'front');
  const request = xenstoreFrame(XS_READ, 1, 0, Buffer.from('d0/0\0'));
  while (writer.writable() >= request.length) {
    writer.write(request);
    rig.door.fromDomain(3);
    servedInTime(rig, neighbour);
  }
  for (let i = 0; i < 50; i++) {
    rig.door.fromDomain(3);
    servedInTime(rig, neighbour);
    expect(ask(dom0, XS_WRITE, '/local/domain/3/w0\0y')).toBe('OK\0');
  }
  expect(rig.server.check()).toBeUndefined();
  expect(rig.log.lines.filter(line => line.startsWith('error'))).toEqual([]);
  rig.door.destroy(3);
  rig.run();
  servedInTime(rig, neighbour);
  expect(ask(dom0, XS_READ, '/local/domain/3\0')).toBe('!ENOENT\0');
});
