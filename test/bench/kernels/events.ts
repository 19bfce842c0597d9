// Two of these measure an event channel between them: one listens and echoes, the other binds and pings.
// Also the null hypercall.
import { __HYPERVISOR_xen_version, domid, type EvtchnPort, port, XenError } from '#pvbus';
import { inTime } from '../in-time.ts';
import { type Boot, serve } from './lib.ts';

export function start(boot: Boot): void {
  serve(boot, (vcpu, loop) => {
    const { events } = vcpu;
    let channel: EvtchnPort | undefined;
    let answers = 0;
    /** Until `done`: never sleeping, or sleeping whenever there is nothing. */
    const wait = (mode: string, done: () => boolean): void => {
      while (!done()) if (!events.poll() && mode === 'asleep') vcpu.block();
    };
    const answer = (): void => {
      answers++;
    };
    return {
      listen: peer => {
        channel = events.allocUnbound(domid(Number(peer)));
        return { port: channel };
      },
      bind: (peer, remote) => {
        channel = events.bindInterdomain(domid(Number(peer)), port(Number(remote)));
        events.on(channel, answer);
        return { port: channel };
      },
      /** Answer every notification from now on. */
      echo: mode => {
        loop.spin = mode === 'spinning';
        events.on(channel!, () => events.notify(channel!));
        return { echoes: 1 };
      },
      ping: (mode, rounds) => ({
        us: inTime(Number(rounds), () => {
          const seen = answers;
          events.notify(channel!);
          wait(mode!, () => answers !== seen);
        }),
      }),
      hypercall: rounds => ({
        us: inTime(Number(rounds), () => {
          if (vcpu.hypercall(__HYPERVISOR_xen_version, 0) < 0) throw new XenError('EINVAL', 'xen_version');
        }),
      }),
    };
  });
}
