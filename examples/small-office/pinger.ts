// Asks another machine of the office once a second whether it is there: target=10.7.0.10 on the command line.
import { clock, console, net, system } from 'xenolith';

export default async function main(): Promise<void> {
  const { target } = system.args;
  if (typeof target !== 'string') throw new Error('give it target=ADDRESS on the command line');
  console.log(`${system.name}: ${net.address} pings ${target} every second`);
  for await (const _ of clock.every(1000)) {
    try {
      const { rttMs, seq } = await net.ping(target);
      console.log(`${target}: seq=${seq} time=${rttMs.toFixed(3)} ms`);
    } catch (error) {
      console.log(`${target}: ${(error as Error).message}`);
    }
  }
}
