// Writes a line a second into a file, and reads back how many there are.
import { clock, console, files } from 'xenolith';

const DIARY = '/diary.txt';

export default async function main(): Promise<void> {
  if (!files.exists(DIARY)) files.writeFile(DIARY, '');
  for await (const _ of clock.every(1000)) {
    const from = clock.now();
    files.appendFile(DIARY, `${clock.date().toISOString()}: nothing to report\n`, { sync: true });
    const lines = files.readText(DIARY).split('\n').length - 1;
    console.log(`${lines} lines, the last one took ${(clock.now() - from).toFixed(1)} ms`);
  }
}
