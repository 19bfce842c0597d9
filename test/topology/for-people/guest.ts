// Says that it is there, and waits.
import { clock, console, system } from 'xenolith';

export default async function main(): Promise<void> {
  console.log(`${system.name} is up`);
  for (;;) await clock.sleep(1000);
}
