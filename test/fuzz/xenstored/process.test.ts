// The daemon as a process, and clients on its socket that behave badly. Another one is served all the while.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { XS_DIRECTORY, XS_ERROR, XS_READ, XS_RM, XS_WATCH, XS_WATCH_EVENT, XS_WRITE, xenstoreFrame } from '#pvbus';
import { eventually, openFiles } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';
import { XenstoredProcess } from '../../support/xenstored-process.ts';
import { RawClient } from './raw-client.ts';
import { PAYLOADS, TYPES } from './wire.ts';

const daemon = new XenstoredProcess();
let pid: number;
let bystander: RawClient;

beforeAll(async () => {
  await daemon.start({ journal: false });
  const [only] = daemon.processes();
  pid = only!; // just started
  bystander = await RawClient.connect(daemon.socket);
  await bystander.ask(XS_WRITE, '/bystander\0here');
});
afterAll(async () => {
  bystander.close();
  await daemon.remove();
});

/** The bystander asks again and again until `attack` is over; returns how often it was answered. */
async function served(attack: Promise<unknown>): Promise<number> {
  let over = false;
  const end = attack.finally(() => {
    over = true;
  });
  end.catch(() => {}); // told below
  let answers = 0;
  do {
    expect((await bystander.ask(XS_READ, '/bystander\0'))?.payload.toString()).toBe('here');
    answers++;
  } while (!over);
  await end;
  expect(daemon.processes()).toEqual([pid]);
  expect(daemon.log).not.toMatch(/ error/i);
  return answers;
}
const clients = (n: number): Promise<RawClient[]> =>
  Promise.all(Array.from({ length: n }, () => RawClient.connect(daemon.socket)));
const { seed, random } = seededRandom();
const upTo = (n: number): number => Math.floor(random() * n);

describe('a client that sends', () => {
  test('every message with every payload, cut anywhere, is answered each time', async () => {
    const attack = async (): Promise<void> => {
      const client = await RawClient.connect(daemon.socket);
      const frames: Uint8Array[] = [];
      for (const type of TYPES) {
        for (const payload of PAYLOADS) {
          for (const tx of [0, 1, 0xffffffff]) {
            frames.push(xenstoreFrame(type, frames.length, tx, Buffer.from(payload, 'latin1')));
          }
        }
      }
      const bytes = Buffer.concat(frames);
      const sending = (async () => {
        for (let at = 0; at < bytes.length; ) {
          const piece = bytes.subarray(at, at + 1 + upTo(3000));
          at += piece.length;
          await new Promise(resolve => client.socket.write(piece, resolve));
        }
      })();
      for (let id = 0; id < frames.length; id++) {
        const reply = await client.reply();
        if (reply?.req_id !== id) throw new Error(`seed ${seed}: answer ${id} is ${JSON.stringify(reply)}`);
      }
      await sending;
      client.close();
    };
    expect(await served(attack())).toBeGreaterThan(1);
  });

  test.each([4097, 2 ** 31, 2 ** 32 - 1])('a claim of %i bytes is hung up on, and why is logged', async len => {
    const before = daemon.log.length;
    const attack = async (): Promise<void> => {
      for (const type of TYPES) {
        const client = await RawClient.connect(daemon.socket);
        const claim = xenstoreFrame(type, 1, 0, Buffer.from('/x\0'));
        new DataView(claim.buffer).setUint32(12, len, true);
        client.socket.write(claim);
        expect(await client.next()).toBeUndefined();
      }
    };
    await served(attack());
    const told = (): boolean => daemon.log.slice(before).split('more than 4096 bytes').length > TYPES.length;
    await eventually('a line for each', told);
  });

  test('bytes of any kind, and goes at any moment, harms nobody', async () => {
    const attack = async (): Promise<void> => {
      for (const client of await clients(100)) {
        client.socket.write(Buffer.from(Array.from({ length: 1 + upTo(200) }, () => upTo(256))));
        if (upTo(2) === 0) client.socket.end();
        else client.close();
      }
    };
    await served(attack());
  });

  test('half a header and stops holds up nobody', async () => {
    const silent = await clients(60);
    for (const [i, client] of silent.entries()) client.socket.write(Buffer.alloc(1 + (i % 15), 1));
    await served(Promise.resolve());
    for (const client of silent) client.close();
  });
});

describe('a client that does not read', () => {
  test('its watch events holds up no writer', async () => {
    const deaf = await RawClient.connect(daemon.socket);
    await deaf.ask(XS_WATCH, '/w\0t\0');
    deaf.socket.pause();
    const writer = await RawClient.connect(daemon.socket);
    const attack = async (): Promise<void> => {
      for (let i = 0; i < 20_000; i += 100) {
        for (let j = 0; j < 100; j++) writer.send(XS_WRITE, `/w/${i + j}\0`);
        for (let j = 0; j < 100; j++) expect((await writer.reply())?.type).toBe(XS_WRITE);
      }
    };
    await served(attack());
    deaf.socket.resume();
    // The first of its events came when it made its watch.
    for (let i = -1; i < 20_000; i++) expect((await deaf.next())?.type).toBe(XS_WATCH_EVENT);
    await writer.ask(XS_RM, '/w\0');
    for (const client of [deaf, writer]) client.close();
  });

  test('events of 16 MiB is hung up on, and why is logged', async () => {
    const deaf = await RawClient.connect(daemon.socket);
    await deaf.ask(XS_WATCH, `/w\0${'t'.repeat(4000)}\0`);
    deaf.socket.pause();
    const writer = await RawClient.connect(daemon.socket);
    const attack = async (): Promise<void> => {
      for (let i = 0; i < 5000; i++) writer.send(XS_WRITE, `/w/${i}\0`);
      for (let i = 0; i < 5000; i++) expect((await writer.reply())?.type).toBe(XS_WRITE);
    };
    await served(attack());
    await eventually('the reason', () => daemon.log.includes('too many unread watch events'));
    deaf.socket.resume();
    while (await deaf.next());
    expect(deaf.closed).toBe(true);
    await writer.ask(XS_RM, '/w\0');
    writer.close();
  });

  test('its answers is asked no more, and has all of them in the end', async () => {
    const deaf = await RawClient.connect(daemon.socket);
    await deaf.ask(XS_WRITE, `/big\0${'v'.repeat(4000)}`);
    deaf.socket.pause();
    for (let i = 0; i < 5000; i++) deaf.send(XS_READ, '/big\0');
    const writer = await RawClient.connect(daemon.socket);
    // All the daemon has taken from it is answered before what it is asked here.
    await served(writer.ask(XS_DIRECTORY, '/\0'));
    deaf.socket.resume();
    for (let i = 0; i < 5000; i++) expect((await deaf.reply())?.payload.length).toBe(4000);
    for (const client of [deaf, writer]) client.close();
  });
});

const sockets = (): number => openFiles(pid).filter(name => name.startsWith('socket:')).length;
test('a thousand connections, opened and closed, leave nothing', async () => {
  await bystander.ask(XS_READ, '/bystander\0');
  const before = sockets();
  const attack = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      const some = await clients(100);
      for (const client of some) client.send(XS_WATCH, '/bystander\0t\0');
      for (const [j, client] of some.entries()) {
        if (j % 2 === 0) expect((await client.reply())?.type).toBe(XS_WATCH);
        client.close();
      }
    }
  };
  await served(attack());
  await eventually('as many sockets as before', () => sockets() === before);
  expect((await bystander.ask(XS_READ, '/nothing\0'))?.type).toBe(XS_ERROR);
});
