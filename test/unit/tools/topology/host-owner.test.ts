import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { forgetOwner, noteOwner, ownerOf } from '../../../../tools/topology/host-owner.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'host-owner-'));
});
afterEach(() => rmSync(dir, { recursive: true }));
const note = (): string => readFileSync(join(dir, 'topology'), 'utf8');

describe('the note of who started a host', () => {
  it('names the topology as long as that process lives', () => {
    expect(ownerOf(dir)).toBeNull();
    noteOwner(dir, '/topologies/small office.yaml');
    expect(ownerOf(dir)).toBe('/topologies/small office.yaml');
    forgetOwner(dir);
    expect(ownerOf(dir)).toBeNull();
  });
  it('fault 55: names nobody when it was left behind: the process is gone, or another one has its number', async () => {
    noteOwner(dir, '/office.yaml');
    const [, , start] = /^(\d+) (\d+) /.exec(note())!;
    // Ours, and not ours: it began at another time.
    writeFileSync(join(dir, 'topology'), note().replace(` ${start} `, ` ${Number(start) - 1} `));
    expect(ownerOf(dir)).toBeNull();
    const child = spawn('true');
    await once(child, 'exit');
    writeFileSync(join(dir, 'topology'), `${child.pid} ${start} /office.yaml\n`);
    expect(ownerOf(dir)).toBeNull();
    writeFileSync(join(dir, 'topology'), '');
    expect(ownerOf(dir)).toBeNull();
  });
});
