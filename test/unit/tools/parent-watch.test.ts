import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { type ProcessId, processStat, scriptParents, watchParents } from '../../../tools/parent-watch.ts';

const children: ChildProcess[] = [];
const dirs: string[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true });
});
async function sleeper(program = 'sleep'): Promise<ProcessId> {
  const child = spawn(program, ['600'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  return { pid: child.pid!, startTime: processStat(child.pid!)!.startTime };
}

it('tells a process by pid and start time, whatever its name holds', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'parent-'));
  dirs.push(dir);
  const odd = join(dir, ') R 1 (x');
  symlinkSync('/bin/sleep', odd);
  const { pid } = await sleeper(odd);
  expect(processStat(pid)).toMatchObject({ pid, parent: process.pid, dead: false });
  expect(processStat(0x7fff_fffe)).toBeNull();
});

it('calls once, when any of them is gone', async () => {
  const [a, b] = [await sleeper(), await sleeper()];
  const gone: number[] = [];
  const over = new Promise<void>(resolve => {
    const note = ({ pid }: ProcessId): void => {
      gone.push(pid);
      resolve();
    };
    watchParents([a, b], note, 5);
  });
  children[1]!.kill('SIGKILL');
  await over;
  children[0]!.kill('SIGKILL');
  await once(children[0]!, 'exit');
  expect(gone).toEqual([b.pid]);
});

it('a pid that was used again counts as gone', async () => {
  const { pid } = await sleeper();
  const gone = await new Promise<ProcessId>(resolve => watchParents([{ pid, startTime: '1' }], resolve, 5));
  expect(gone.pid).toBe(pid);
});

it('watches nobody when no script runs us', () => {
  expect(scriptParents({})).toEqual([]);
});

it('watches up to the package manager, or the parent alone when none is above', () => {
  const chain = scriptParents({ npm_lifecycle_event: 'start' });
  expect(chain[0]?.pid).toBe(process.ppid);
});
