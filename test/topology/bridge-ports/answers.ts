// Answers pings, and asks another machine now and then: target=ADDRESS on the command line.
import { clock, console, net, system } from 'xenolith';

export default async function main(): Promise<void> {
  const { target } = system.args;
  console.log(`${net.address} is here`);
  for await (const _ of clock.every(100)) {
    if (typeof target !== 'string') continue;
    try {
      await net.ping(target, { timeoutMs: 200 });
      console.log(`${target} answers`);
    } catch (error) {
      console.log(`${target}: ${(error as Error).message}`);
    }
  }
}
