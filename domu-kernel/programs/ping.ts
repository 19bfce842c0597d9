// ping for guests. On the command line: ping=10.0.0.1 count=10 interval=1000 (ms). Without `count` it goes on.
import { clock, console, net, system } from 'xenolith';

export default async function ping(): Promise<void> {
  const { ping: target, count = 'Infinity', interval = '1000' } = system.args;
  if (typeof target !== 'string') throw new Error('ping: give it ping=ADDRESS on the command line');
  let received = 0;
  for (let sent = 1; sent <= Number(count); sent++) {
    const next = clock.now() + Number(interval);
    try {
      const { rttMs, seq } = await net.ping(target);
      received++;
      console.log(`${target}: seq=${seq} time=${rttMs.toFixed(3)} ms`);
    } catch (error) {
      console.log(`${target}: ${(error as Error).message}`);
    }
    if (sent < Number(count)) await clock.sleep(next - clock.now());
  }
  console.log(`${count} sent, ${received} received`);
}
