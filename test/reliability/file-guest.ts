// The guest of `npm run reliability -- --files N`. It appends numbered records to a file, syncs, says so, and meanwhile
// makes, fills, shortens and removes other files and directories.
import { clock, console, files, system } from 'xenolith';
import { fileRecord, RECORD_BYTES } from './file-record.ts';

/** Logs of so many earlier runs are kept. */
const KEPT = 3;
/** Of one run: where nobody finds the time to kill it, its volume is not to be full. */
const MOST_RECORDS = 4096;

export default async function main(): Promise<void> {
  const run = Number(system.args.run);
  for (const { name } of files.exists('logs') ? files.list('logs') : []) {
    if (Number(/\d+/.exec(name)?.[0]) < run - KEPT) files.remove(`logs/${name}`);
  }
  files.mkdir('logs', { recursive: true });
  files.mkdir('scratch/of all sorts', { recursive: true });
  const log = files.open(`logs/records of run ${run}.log`, 'w');
  for (let n = 0; n < MOST_RECORDS; ) {
    const batch = new Uint8Array((1 + (n % 23)) * RECORD_BYTES);
    for (let at = 0; at < batch.length; at += RECORD_BYTES) batch.set(fileRecord(run, n++), at);
    log.write(batch);
    log.sync();
    console.log(`acked ${run} ${n}`);
    scratch(n);
    await clock.sleep(0);
  }
  await new Promise(() => {});
}

function scratch(n: number): void {
  const name = `scratch/of all sorts/file number ${n % 7}`;
  const was = files.exists(name);
  if (n % 5 === 0 && was) files.remove(name);
  else if (n % 5 === 1 && was) files.truncate(name, Math.floor(files.stat(name).size / 3));
  else if (n % 5 === 2 && was) {
    const moved = `scratch/moved ${n % 13}`;
    if (files.exists(moved)) files.remove(moved);
    files.rename(name, moved);
  } else files.writeFile(name, new Uint8Array((n * 977) % 60_000).fill(n));
}
