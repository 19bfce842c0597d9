// Says again what is typed, and writes to xenstore how often it has.
import { console, system } from 'xenolith';

export default async function main(): Promise<void> {
  let count = 0;
  console.log('ready');
  for await (const line of console.lines()) {
    console.log(`you said ${line}`);
    await system.store.write('data/count', String(++count));
  }
}
