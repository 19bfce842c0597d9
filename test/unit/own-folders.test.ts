// What a test run leaves behind that is killed.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { memoryFolder, ownFolder, removeLeftFolders } from '../support/own-folders.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-own-folders-'));
afterAll(() => rmSync(dir, { recursive: true }));
const left = (): string[] => readdirSync(dir).sort();

let ours: string;
let pid: number;
beforeAll(async () => {
  ours = basename(ownFolder(dir));
  const child = spawn('true');
  pid = child.pid!;
  await once(child, 'exit');
});
/** Ours, as another process would have it. */
const ofAnother = (change: (name: string) => string): string => {
  const name = change(ours);
  expect(name).not.toBe(ours);
  mkdirSync(join(dir, name));
  writeFileSync(join(dir, name, 'host.log'), '');
  return name;
};

it('those of a process that has ended are removed, also where its pid is one that lives', () => {
  ofAnother(name => name.replace(`-${process.pid}.`, `-${pid}.`));
  ofAnother(name => name.replace(/\.\d+\./, '.1.'));
  removeLeftFolders(dir);
  expect(left()).toEqual([ours]);
});

it('those of another namespace of pids, of other names, and of other users are left', () => {
  const kept = [
    ofAnother(name => name.replace(`-${process.pid}.`, `-${pid}.`).replace(/\.\d+-/, '.1-')),
    ofAnother(() => 'xenolith-test-abcdef'),
  ];
  if (process.getuid?.() === 0) {
    kept.push(ofAnother(name => name.replace(`-${process.pid}.`, `-${pid}.`)));
    chownSync(join(dir, kept.at(-1)!), 65534, 65534);
  }
  removeLeftFolders(dir);
  expect(left()).toEqual([ours, ...kept].sort());
});

it('a scratch folder of a process that was killed is removed', () => {
  const module = new URL('../support/scratch-folder.ts', import.meta.url);
  const text = `const { ScratchFolder } = await import('${module}');
    console.log(new ScratchFolder().path);
    process.kill(process.pid, 'SIGKILL');`;
  const args = ['--import', 'tsx', '--input-type=module', '--eval', text];
  const { stdout, signal } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const path = stdout.trim();
  expect([signal, existsSync(path)]).toEqual(['SIGKILL', true]);
  removeLeftFolders(memoryFolder());
  expect(existsSync(path)).toBe(false);
});
