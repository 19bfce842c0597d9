// The life of a pvcalls device through xenstore: both ends' device.ts, a worker that is only asked.
import { describe, expect, it } from 'vitest';
import { domid, XenbusState } from '#pvbus';
import type { BackendThread } from '../../../../../dom0/backends/backend-thread.ts';
import { pvcallsBackend } from '../../../../../dom0/backends/pvcalls/device.ts';
import type { PvcallsCall, PvcallsEvent } from '../../../../../dom0/backends/pvcalls/worker.ts';
import { Frontend, findDevices } from '../../../../../domu-kernel/drivers/frontend-device.ts';
import { PvcallsDevice } from '../../../../../domu-kernel/drivers/pvcallsfront/device.ts';
import { CoreRig } from '../../../../support/core-rig.ts';
import { PaperToolstack, settle } from '../../../../support/xenbus-device.ts';
import { ListLog, XenstoreRig } from '../../../../support/xenstore-rig.ts';

async function rig(keys: Record<string, string> = { listen: '8080:80', connect: '5432' }) {
  const core = new CoreRig();
  const guest = core.guest({ pages: 512 });
  const store = new XenstoreRig();
  store.domain(guest.domid);
  const toolstack = new PaperToolstack(store);
  const log = new ListLog();
  const calls: PvcallsCall[] = [];
  let tell: (event: PvcallsEvent) => void = () => {};
  const thread: BackendThread = {
    name: 'pvcalls',
    vcpu: 4,
    call: async message => void calls.push(message as PvcallsCall),
    onEvent: listener => {
      tell = listener;
    },
    stop: async () => {},
  };
  const nodes = await toolstack.plug('pvcalls', guest.domid, 0, keys);
  const backend = pvcallsBackend({ xs: toolstack.client(), log, startThread: () => thread });
  await backend.start();
  const vcpu = guest.kernel();
  const xs = toolstack.client();
  const front = new Frontend({
    xs,
    log,
    type: 'pvcalls',
    domid: domid(guest.domid),
    create: device => new PvcallsDevice(device, vcpu, log),
  });
  await findDevices(xs, domid(guest.domid), [front]);
  const both = (state: XenbusState) => async (): Promise<boolean> => {
    const [b, f] = await Promise.all([toolstack.state(nodes.backend), toolstack.state(nodes.frontend)]);
    return Number(b) === state && Number(f) === state;
  };
  return { core, toolstack, backend, front, nodes, calls, log, both, tell: (e: PvcallsEvent) => tell(e), xs };
}

describe('a pvcalls device', () => {
  it('connects, with the keys of io/pvcalls.h at both ends', async () => {
    const { toolstack, nodes, calls, both, front } = await rig();
    await settle(both(XenbusState.Connected));
    await front.find(0)!.ready();
    const { xs } = toolstack;
    expect(await xs.read(`${nodes.backend}/versions`)).toBe('1');
    expect(await xs.read(`${nodes.backend}/function-calls`)).toBe('1');
    expect(Number(await xs.read(`${nodes.backend}/max-page-order`))).toBeGreaterThanOrEqual(1);
    expect(await xs.read(`${nodes.frontend}/version`)).toBe('1');
    expect(calls).toEqual([
      expect.objectContaining({
        op: 'connect',
        device: nodes.backend,
        ref: Number(await xs.read(`${nodes.frontend}/ring-ref`)),
        evtchn: Number(await xs.read(`${nodes.frontend}/port`)),
        ports: { listen: '8080:80', connect: '5432', allow: '', resolver: '' },
      }),
    ]);
  });

  it('publishes the port the host picked', async () => {
    const { toolstack, nodes, both, tell } = await rig();
    await settle(both(XenbusState.Connected));
    tell({ event: 'listening', device: nodes.backend, guestPort: 80, hostPort: 43210 });
    await settle(() => toolstack.xs.exists(`${nodes.backend}/listening-80`));
    expect(await toolstack.xs.read(`${nodes.backend}/listening-80`)).toBe('43210');
  });

  it('closes at both ends when the toolstack asks, and asks the worker to let go', async () => {
    const { toolstack, nodes, calls, both } = await rig();
    await settle(both(XenbusState.Connected));
    await toolstack.askToClose(nodes);
    await settle(both(XenbusState.Closed));
    expect(calls.at(-1)).toEqual({ op: 'disconnect', device: nodes.backend });
  });

  it('goes to Closing with the reason when the worker has given the frontend up', async () => {
    const { toolstack, nodes, both, tell, log } = await rig();
    await settle(both(XenbusState.Connected));
    tell({ event: 'failed', device: nodes.backend, code: 'EINVAL', message: 'impossible indices' });
    await settle(async () => Number(await toolstack.state(nodes.backend)) !== XenbusState.Connected);
    await settle(() => log.lines.some(line => line.includes('impossible indices')));
  });

  it('whose backend is replaced ends its sockets with ECONNRESET, and opens others when it is back', async () => {
    const { toolstack, nodes, both, front } = await rig();
    await settle(both(XenbusState.Connected));
    const sockets = front.find(0)!.instance as PvcallsDevice; // made by create above
    const codeOf = (work: Promise<unknown>) => work.catch((error: { code: string }) => error.code);
    const listening = codeOf(sockets.listen(80));
    // Its predecessor's state is all that a process that died has left; the next one begins with InitWait.
    await toolstack.xs.write(`${nodes.backend}/state`, String(XenbusState.InitWait));
    expect(await listening).toBe('ECONNRESET');
    let over = false;
    const again = codeOf(sockets.listen(80)).finally(() => {
      over = true;
    });
    await settle(async () => Number(await toolstack.state(nodes.frontend)) === XenbusState.Initialised);
    expect(over).toBe(false);
    await toolstack.xs.write(`${nodes.backend}/state`, String(XenbusState.Connected));
    await settle(async () => Number(await toolstack.state(nodes.frontend)) === XenbusState.Connected);
    expect(sockets.stats.commands).toBe(2);
    await toolstack.remove(nodes);
    expect(await again).toBe('ECONNRESET');
    expect(await codeOf(sockets.connect(1))).toBe('ENODEV');
  });

  it('refuses ports in its node that make no sense', async () => {
    const { nodes, log, toolstack } = await rig({ listen: 'everything' });
    await settle(async () => Number(await toolstack.state(nodes.backend)) === XenbusState.Closing);
    expect(log.lines.join()).toMatch(/everything.*no port/);
  });
});
