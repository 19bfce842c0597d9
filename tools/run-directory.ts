// The directory of a host that is there for one program.
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { processStat } from './parent-watch.ts';

/** Of its numbers alone is known here whether a process has them: others may share the folder with us. */
const pidNamespace = (): string => /\[(\d+)\]/.exec(readlinkSync('/proc/self/ns/pid'))?.[1] ?? '0';

/** A new one for this process. Those whose process was killed before it could remove its own are gone afterwards. */
export function makeRunDirectory(below = tmpdir()): string {
  const parent = resolve(below); // others, who are elsewhere, are told of it
  const ours = `xenolith-run-${pidNamespace()}-`;
  for (const name of readdirSync(parent)) {
    const pid = name.startsWith(ours) ? /^(\d+)-[A-Za-z0-9]{6}$/.exec(name.slice(ours.length))?.[1] : undefined;
    if (pid === undefined || processStat(Number(pid)) !== null) continue;
    try {
      rmSync(join(parent, name), { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
  return mkdtempSync(join(parent, `${ours}${process.pid}-`));
}
