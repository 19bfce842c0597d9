// Run with a small file system of its own as TMPDIR: a xenstored there, with its journal, which it fills and empties. Prints JSON.
import { appendFileSync, existsSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../../support/processes.ts';
import { XenstoredProcess } from '../../support/xenstored-process.ts';

const daemon = new XenstoredProcess();
try {
  await daemon.start();
  const xs = await daemon.connect();
  await xs.write('/before', 'x');

  const filler = join(tmpdir(), 'filler');
  for (let size = 1 << 16; size >= 1; size /= 2) {
    try {
      for (;;) appendFileSync(filler, new Uint8Array(size));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
  // What there is of the last page of the journal is room yet.
  let writes = 0;
  while (!/nothing is kept now/.test(daemon.log)) await xs.write('/during', String(++writes));
  const stale = existsSync(daemon.journal);
  await xs.write('/during', 'full');
  const [before, during] = [await xs.read('/before'), await xs.read('/during')];

  rmSync(filler);
  await eventually('it is kept again', () => /journal: kept again/.test(daemon.log));
  await xs.write('/after', 'y');
  await daemon.kill();
  await daemon.start();
  const again = await daemon.connect();
  const back = await Promise.all(['/before', '/during', '/after'].map(path => again.read(path)));
  again.close();
  console.log(JSON.stringify({ stale, before, during, back, log: daemon.log }));
} finally {
  await daemon.remove();
}
