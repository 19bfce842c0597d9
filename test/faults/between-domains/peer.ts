// A kernel without drivers: what it shares with other domains, and asks of the hypervisor, it does as it is told.
import {
  __HYPERVISOR_event_channel_op,
  DOMID_SELF,
  domid,
  EVTCHNOP_send,
  EVTCHNOP_status,
  type EvtchnPort,
  errnoName,
  evtchn_send,
  evtchn_status,
  type Gfn,
  type GrantMapping,
  gref,
  port,
  type SharedPages,
  XenError,
} from '#pvbus';
import { type Acts, type Boot, type Mallory, perform } from '../../topology/hostile-acts/performer.ts';
import { RawDisk } from '../../topology/hostile-acts/raw-devices.ts';
import { PATTERN, THE_BUG } from './words.ts';

const XVDA = 51712;

function acts(mallory: Mallory): Acts {
  const { vcpu, kernel } = mallory;
  const { grants, events, scratch } = vcpu;
  let shared: SharedPages;
  let mapped: GrantMapping;
  const pieces: SharedPages[] = [];
  const between: Gfn[] = [];

  // ---- event channels ----
  let open: EvtchnPort[] = [];
  const heard = new Map<EvtchnPort, number>();
  const answers: Record<string, number> = {};
  let sent = 0;
  let goesOn = false;
  const unbound = (peer: number): EvtchnPort => {
    const opened = events.allocUnbound(domid(peer));
    heard.set(opened, 0);
    events.on(opened, () => void heard.set(opened, heard.get(opened)! + 1));
    return opened;
  };
  const send = (to: EvtchnPort): void => {
    const at = scratch.reset().alloc(evtchn_send.size);
    scratch.view.setUint32(at + evtchn_send.at.port, to, true);
    const rc = vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_send, at);
    const answer = rc < 0 ? errnoName(-rc) : 'ok';
    answers[answer] = (answers[answer] ?? 0) + 1;
    events.notify(to);
    sent++;
  };
  const storm = (): void => {
    if (!goesOn) return;
    for (const to of open) send(to);
    kernel.timers.after(0, storm);
  };

  return {
    /** A page for `peer` to map. */
    grant: (_, peer) => {
      shared = grants.allocShared(domid(Number(peer)), 1);
      shared.bytes.fill(PATTERN);
      return { ref: grants.grantAccess(domid(Number(peer)), shared.gfn) };
    },
    map: (_, granter, ref) => {
      [mapped] = grants.map(domid(Number(granter)), [Number(ref)]) as [GrantMapping];
      return { byte: mapped.page.bytes[0] };
    },
    look: () => ({ byte: mapped.page.bytes[0] }),
    unmap: () => {
      grants.unmap([mapped]);
      return {};
    },
    /** The grant is to be over, and its page this domain's own again. */
    revoke: (_, ref) => {
      const ended = grants.endAccess(gref(Number(ref)));
      try {
        shared.release();
        return { ended, released: true };
      } catch (error) {
        return { ended, released: error instanceof XenError ? error.code : String(error) };
      }
    },

    /** Every other page is shared, for as long as that works. */
    cut: (_, peer) => {
      try {
        for (;;) {
          pieces.push(grants.allocShared(domid(Number(peer)), 1));
          between.push(vcpu.frames.alloc(1));
        }
      } catch (error) {
        const [code, why] = error instanceof XenError ? [error.code, error.message] : ['', String(error)];
        return { pieces: pieces.length, code, why };
      }
    },
    mend: () => {
      for (const piece of pieces.splice(0)) piece.release();
      for (const gfn of between.splice(0)) vcpu.frames.free(gfn, 1);
      return {};
    },

    listen: (_, peer, count) => {
      open = Array.from({ length: Number(count) }, () => unbound(Number(peer)));
      return { ports: open };
    },
    /** To all of these of `peer` again and again, by its doorbell and by hypercalls. */
    storm: (_, peer, ...ports) => {
      open = ports.map(remote => events.bindInterdomain(domid(Number(peer)), port(Number(remote))));
      goesOn = true;
      storm();
      return {};
    },
    sent: () => ({ sent }),
    calm: () => {
      goesOn = false;
      for (const mine of open.splice(0)) events.close(mine);
      return { answers };
    },
    /** All are closed and opened for another one, whose numbers are the same. */
    reopen: (_, peer) => {
      const before = [...open];
      for (const old of open) events.close(old);
      heard.clear();
      open = before.map(() => unbound(Number(peer)));
      return { same: [...open].sort().join() === before.sort().join() };
    },
    once: (_, peer, ...ports) => {
      for (const remote of ports) {
        const mine = events.bindInterdomain(domid(Number(peer)), port(Number(remote)));
        events.notify(mine);
        events.close(mine);
      }
      return {};
    },
    heard: () => {
      const times = [...heard.values()];
      return { times: times.reduce((sum, n) => sum + n, 0), ports: times.filter(n => n > 0).length };
    },
    close: () => {
      for (const old of open.splice(0)) events.close(old);
      heard.clear();
      return {};
    },

    /** Asks for what this hypervisor has a bug for. */
    bug: () => {
      const at = scratch.reset().alloc(evtchn_status.size);
      scratch.view.setUint16(at + evtchn_status.at.dom, DOMID_SELF, true);
      scratch.view.setUint32(at + evtchn_status.at.port, THE_BUG, true);
      return { rc: vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, at) };
    },

    /** Half a request is in the slot that the backend looks at next, and it is notified again and again; then the other half. */
    half: async () => {
      const disk = new RawDisk(mallory, XVDA);
      await disk.connect();
      const { front } = disk;
      const whole = { segments: [{ gref: front.refs[1]! }] };
      front.write(0, { ...whole, segments: [{ gref: 4711 }], sector_lo: 2 ** 30 });
      for (let i = 0; i < 50; i++) {
        front.notify();
        await mallory.pause(1);
      }
      const early = front.rspProd();
      const status = await disk.request(whole);
      const answers = front.rspProd();
      await disk.leave();
      return { early, status, answers };
    },
  };
}

export const start = (boot: Boot): void => perform(boot, acts);
