// dom0's ring to the real daemon core on the real hypervisor core, in this thread. The daemon's socket is a real
// one, behind which is as much of a daemon as an introduction needs.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket, type Server as SocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  domid,
  gfn,
  port,
  systemClock,
  type XenError,
  XenstoreClient,
  XenstoreFrameReader,
  XS_ERROR,
  XS_INTRODUCE,
  xenstoreFrame,
} from '#pvbus';
import { connectStoreRing } from '../../../dom0/store-ring.ts';
import { Server } from '../../../dom0/xenstored/server.ts';
import { VcpuDoor } from '../../../dom0/xenstored/vcpu-door.ts';
import { CoreRig } from '../../support/core-rig.ts';
import { ListLog } from '../../support/xenstore-rig.ts';

let dir: string;
let path: string;
let listener: SocketServer | undefined;
let core: CoreRig;
let server: Server;
let turns: NodeJS.Timeout;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-store-ring-'));
  path = join(dir, 'xenstored.sock');
  core = new CoreRig();
  const [vcpu0, vcpu1] = [core.dom0.kernel(0), core.dom0.kernel(1)];
  server = new Server({ door: new VcpuDoor(vcpu1), clock: core.clock, log: new ListLog(), onWork: () => {} });
  const turn = (): void => {
    vcpu0.events.poll();
    vcpu1.events.poll();
    server.step();
  };
  turns = setInterval(turn, 0);
  kernel = vcpu0;
});
let kernel: ReturnType<CoreRig['dom0']['kernel']>;
afterEach(() => {
  clearInterval(turns);
  listener?.close();
  listener = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** `serve` is told what a client asks to have introduced. */
function listen(serve: (socket: Socket, req_id: number, payload: string) => void): Promise<void> {
  const made = createServer(socket => {
    socket.on('error', () => {});
    const reader = new XenstoreFrameReader();
    socket.on('data', bytes => {
      for (let taken = 0; taken < bytes.length; ) {
        taken += reader.take(bytes, taken);
        if (!reader.complete) continue;
        const { type, req_id, payload } = reader.frame;
        expect(type).toBe(XS_INTRODUCE);
        serve(socket, req_id, Buffer.from(payload).toString());
      }
    });
  });
  listener = made;
  return new Promise(resolve => made.listen(path, resolve));
}
function introduceRing(payload: string): void {
  const [id, frame, evtchn] = payload.split('\0').map(Number);
  server.domains.introduce(domid(id!), gfn(frame!), port(evtchn!));
}
function introduce(socket: Socket, req_id: number, payload: string): void {
  introduceRing(payload);
  socket.write(xenstoreFrame(XS_INTRODUCE, req_id, 0, Buffer.from('OK\0')));
}
const connect = (ms = 60_000): Promise<XenstoreClient> =>
  connectStoreRing(kernel, path, systemClock, systemClock.now() + ms * 1e6).then(ring => new XenstoreClient(ring));

test('what is asked in one turn, and more than the ring holds, is answered', async () => {
  await listen(introduce);
  const xs = await connect();
  const long = 'x'.repeat(3000);
  const names = Array.from({ length: 40 }, (_, i) => `/node/${i}`);
  await Promise.all(names.map((name, i) => xs.write(name, i === 7 ? long : String(i))));
  expect(await Promise.all(names.map(name => xs.read(name)))).toEqual(names.map((_, i) => (i === 7 ? long : `${i}`)));
  const heard: string[] = [];
  await xs.watch('/node/3', 't', changed => heard.push(changed));
  await xs.rm('/node/3');
  expect(heard).toEqual(['/node/3', '/node/3']);
});

test('a daemon that is not there yet is waited for', async () => {
  const connecting = connect();
  await new Promise(resolve => setTimeout(resolve, 50));
  await listen(introduce);
  await (await connecting).write('/a', 'b');
});

test('a daemon that dies before it has answered is asked again, whether it did what it was asked or not', async () => {
  let asked = 0;
  await listen((socket, req_id, payload) => {
    asked++;
    if (asked === 3) return introduce(socket, req_id, payload);
    if (asked === 2) introduceRing(payload);
    socket.destroy();
  });
  const xs = await connect();
  expect(asked).toBe(3);
  await xs.write('/a', 'b');
  expect(await xs.read('/a')).toBe('b');
});

test('a daemon that refuses is not asked again', async () => {
  let asked = 0;
  await listen((socket, req_id) => {
    asked++;
    socket.write(xenstoreFrame(XS_ERROR, req_id, 0, Buffer.from('EINVAL\0')));
  });
  await expect(connect()).rejects.toMatchObject({ code: 'EINVAL' } satisfies Partial<XenError>);
  expect(asked).toBe(1);
});

test('nobody there in time is an error that names the socket', async () => {
  await expect(connect(20)).rejects.toMatchObject({ code: 'ETIMEDOUT', message: expect.stringContaining(path) });
});
