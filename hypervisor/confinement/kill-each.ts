import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** SIGKILL; resolves when they have been reaped. One that has ended is still among them while its last words are heard. */
export async function killEach(children: Iterable<ChildProcess>): Promise<void> {
  const alive = [...children].filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
  const ends = alive.map(child => once(child, 'exit'));
  for (const child of alive) child.kill('SIGKILL');
  await Promise.all(ends);
}
