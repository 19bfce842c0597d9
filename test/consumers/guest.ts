// What the consumers start and stop: it stays up, and goes down when asked to.
import { clock, console, system } from 'xenolith';

export default async function main(): Promise<void> {
  system.onShutdown(() => console.log('going down'));
  console.log(`${system.name} is up`);
  for (;;) await clock.sleep(3_600_000);
}
