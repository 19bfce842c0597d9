// untrusted: everything a backend writes. A broken one costs the guest its sockets, never the guest.
import { describe, expect, it } from 'vitest';
import { pvcalls_data_intf, sring } from '#pvbus';
import { PvcallsFrontStats } from '../../../../domu-kernel/drivers/pvcallsfront/stats.ts';
import { PvcallsFront } from '../../../../domu-kernel/drivers/pvcallsfront/worker.ts';
import { domid } from '../../../../pvbus/brands.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { CoreRig, LineLog } from '../../../support/core-rig.ts';
import { RawPvcallsBack, type SeenCommand } from '../../../support/raw-pvcallsback.ts';

function rig() {
  const core = new CoreRig();
  const guest = core.guest({ pages: 1024 });
  const vcpu = guest.kernel();
  const broken: XenError[] = [];
  const log = new LineLog();
  const stats = new PvcallsFrontStats();
  const front = new PvcallsFront(vcpu, domid(0), 4, log, stats, error => broken.push(error));
  front.start(true);
  const { ref, port: evtchn } = front.attachment;
  const back = new RawPvcallsBack(core.dom0.kernel(4), domid(guest.domid), ref, evtchn);
  /** Promise jobs of the frontend, then its events. */
  const turn = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) {
      await new Promise(resolve => setImmediate(resolve));
      vcpu.events.poll();
      back.vcpu.events.poll();
    }
  };
  const next = async (): Promise<SeenCommand> => {
    for (let i = 0; i < 20; i++) {
      await turn();
      const [seen] = back.take();
      if (seen) return seen;
    }
    throw new Error('the frontend asks for nothing');
  };
  /** Everything until a connection stands. */
  const connected = async () => {
    const work = front.connect(80);
    back.answer(await next());
    const seen = await next();
    const intf = back.vcpu.grants.map(domid(guest.domid), [seen.ref])[0]!;
    back.answer(seen);
    await turn();
    return { connection: await work, intf };
  };
  return { core, guest, vcpu, front, back, broken, stats, log, turn, next, connected };
}
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'nothing thrown',
    error => (error as XenError).code,
  );

describe('a hostile pvcalls backend', () => {
  it.each<[string, (r: ReturnType<typeof rig>, seen: SeenCommand) => void]>([
    ['act 31: that answers what was never asked', ({ back }, seen) => back.answer({ ...seen, req_id: 4242 })],
    ['act 32: that answers another command', ({ back }, seen) => back.answer({ ...seen, cmd: seen.cmd + 1 })],
    ['act 31: that answers for another socket', ({ back }, seen) => back.answer({ ...seen, id_lo: seen.id_lo + 1 })],
    ['act 35: that answers with a positive number', ({ back }, seen) => back.answer(seen, 1)],
    [
      'act 31: that answers twice',
      ({ back }, seen) => {
        back.answer(seen);
        back.answer(seen);
      },
    ],
    [
      'act 30: that claims answers that nobody waits for',
      ({ back }) => {
        back.page.words[sring.at.rsp_prod / 4] = 7;
        back.notify();
      },
    ],
    [
      'act 30: that moves its index backwards',
      ({ back }) => {
        back.page.words[sring.at.rsp_prod / 4] = -1;
        back.notify();
      },
    ],
  ])('%s is given up once, and what waits fails', async (_what, act) => {
    const r = rig();
    const work = codeOf(r.front.connect(80));
    act(r, await r.next());
    await r.turn();
    expect(r.broken).toHaveLength(1);
    expect(await work).toBe('EIO');
    expect(await codeOf(r.front.listen(80))).toBe('EIO');
    await r.turn();
    expect(r.broken).toHaveLength(1);
  });

  it('act 30: that leaves impossible indices in a data ring breaks that connection only', async () => {
    const r = rig();
    for (const [word, value] of [
      [pvcalls_data_intf.at.in_prod, 1 << 20],
      [pvcalls_data_intf.at.in_prod, -5],
      [pvcalls_data_intf.at.out_cons, 99],
    ] as const) {
      const { connection, intf } = await r.connected();
      intf.page.words[word / 4] = value;
      const work = word === pvcalls_data_intf.at.out_cons ? connection.write('x') : connection.read();
      expect(await codeOf(work)).toBe('EIO');
      expect(await codeOf(connection.read())).toBe('EIO');
    }
    expect(r.broken).toEqual([]);
    const { connection } = await r.connected();
    await connection.write('fine');
  });

  it('that changes an error or an index it does not own changes nothing but its own stream', async () => {
    const { connection, intf } = await rig().connected();
    await connection.write('abc');
    intf.page.words[pvcalls_data_intf.at.out_prod / 4] = 0x55;
    await connection.write('def');
    expect(intf.page.words[pvcalls_data_intf.at.out_prod / 4]).toBe(6);
    intf.page.words[pvcalls_data_intf.at.in_error / 4] = 12345; // positive: no errno
    expect(await codeOf(connection.read())).not.toBe('nothing thrown');
  });

  it('act 33: that keeps the pages of a closed socket never gets them used again, and the device is given up in the end', async () => {
    const r = rig();
    const { connection } = await r.connected();
    const closing = connection.close();
    r.back.answer(await r.next());
    await r.turn();
    await closing;
    expect(r.stats.quarantined).toBe(1);
    expect(r.log.lines.join()).toMatch(/keeps the pages/);
    for (let i = 0; i < 40 && r.broken.length === 0; i++) {
      const more = await r.connected();
      const closed = more.connection.close();
      r.back.answer(await r.next());
      await r.turn();
      await closed;
    }
    expect(r.stats.quarantined).toBe(32);
    expect(r.broken.map(error => error.code)).toEqual(['ENOMEM']);
  });

  it('act 36: that never answers leaves the guest able to do everything else, and to give up', async () => {
    const r = rig();
    const works = Array.from({ length: 1200 }, () => codeOf(r.front.connect(80)));
    await r.turn();
    expect(r.back.take().length).toBeLessThanOrEqual(32);
    r.front.end(new XenError('ECONNRESET', 'given up'));
    const codes = new Set(await Promise.all(works));
    expect([...codes].sort()).toEqual(['EBUSY', 'ECONNRESET']);
  });

  it('act 40: sees nothing of earlier commands in the slots', async () => {
    const r = rig();
    const work = codeOf(r.front.connect(0x1234));
    r.back.answer(await r.next());
    r.back.answer(await r.next(), -111);
    const release = await r.next();
    const slot = sring.size + 2 * 64;
    expect(r.back.page.bytes.slice(slot + 24, slot + 64).every(byte => byte === 0)).toBe(true);
    r.back.answer(release);
    await r.turn();
    expect(await work).toBe('ECONNREFUSED');
  });
});
