// Fails where its command line says, or never.
import { clock, console, system } from 'xenolith';

const { fails } = system.args;
const fail = (): never => {
  throw new RangeError(`a bug ${fails}`);
};
console.log(`${system.name} begins`);
if (fails === 'at-top-level') fail();

export default async function main(): Promise<void> {
  if (fails === 'in-main') fail();
  if (fails === 'in-a-promise') void clock.sleep(10).then(fail);
  if (fails === 'in-a-timer') setTimeout(fail, 10);
  if (fails === 'in-a-watch') await system.store.watch('name', () => fail());
  const deeper = (n: number): number => deeper(n + 1) + 1;
  if (fails === 'by-recursion') deeper(0);
  system.onShutdown(() => console.log('goes in peace'));
  for (;;) await clock.sleep(3_600_000);
}
