// What breaks: a guest that writes notes to a FAT image for HTTP clients of the host is killed (SIGKILL, by its
// own hand) while notes are being written. When: at moments that a seed decides, three times over on the same image.
// What must survive: every note that was answered with 201, the volume, which the next guest mounts as it is and which an
// independent FAT tool finds clean after that, and the other domain, which is pinged all the while.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runPaths, socketTransport, XenstoreClient } from '#pvbus';
import { installExt4 } from '../../../tools/ext4/build.ts';
import { ext4Volumes } from '../../reliability/ext4-volumes.ts';
import { FileKills } from '../../reliability/file-kills.ts';
import { fatVolumes } from '../../reliability/volumes.ts';
import { filesOn, formattedDisk, mounted } from '../../support/fatfs.ts';
import { dist, HostRig } from '../../support/host-rig.ts';
import { MemoryDisk } from '../../support/memory-disk.ts';
import { eventually, processOfDomain } from '../../support/processes.ts';
import { ext4Wasm } from '../../support/programs/ext4.ts';
import { seededRandom } from '../../support/random.ts';

const ROUNDS = 3;
const CLIENTS = 6;
const FSCK = '/usr/sbin/fsck.vfat';

const NOTES = `
import { files, http, system } from 'xenolith';
export default async function main() {
  await http.serve(80, ({ method, text }) => {
    if (method !== 'POST') return 'up';
    files.appendFile('notes.txt', text() + '\\n', { sync: true });
    return { status: 201 };
  });
  await new Promise(() => {});
}`;
const PINGED = `
import { net } from 'xenolith';
export default async function main() {
  for (let n = 0; ; n++) {
    await net.ping('10.0.0.1');
    if (n % 100 === 0) console.log('pings', n);
  }
}`;

let rig: HostRig;
let dir: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-notes-'));
  // order: a host says when it starts what its domains' shells may read.
  if (ext4Volumes) installExt4(await ext4Wasm());
  rig = await HostRig.start();
});
afterAll(async () => {
  await rig?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** A guest that is dead and preserved answers no more; `signal` says so. */
function send(port: number, method: string, body: string, signal: AbortSignal): Promise<number | string> {
  return new Promise(resolve => {
    const outgoing = request({ port, method, path: '/', signal }, response => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
      response.on('error', error => resolve(error.message));
    });
    outgoing.on('error', error => resolve(error.message));
    outgoing.end(body);
  });
}

function fsck(image: string): string {
  if (!existsSync(FSCK)) return 'clean'; // looked at by our own reader only
  try {
    execFileSync(FSCK, ['-n', image], { stdio: 'pipe' });
    return 'clean';
  } catch (error) {
    return String((error as { stdout?: Buffer }).stdout);
  }
}

it('fault 13: keeps every note it answered for, and an image without a fault, when the guest is killed', async () => {
  const image = join(dir, 'notes.img');
  writeFileSync(image, formattedDisk(8 << 20).bytes);
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const config = (name: string, program: string, ...lines: string[]): string =>
    file(
      `${name}.cfg`,
      [
        `name = "${name}"`,
        'memory = 16',
        `kernel = "${dist('domu-kernel.js')}"`,
        `ramdisk = "${program}"`,
        ...lines,
      ].join('\n'),
    );
  const create = async (cfg: string): Promise<void> => {
    const result = await rig.xl('create', cfg);
    expect(result.stderr.replace(/^Parsing config.*\n/, '')).toBe('');
    expect(result.exitCode).toBe(0);
  };
  const notes = config(
    'notes',
    file('notes.ts', NOTES),
    `disk = [ "${image},raw,xvda,w" ]`,
    'pvcalls = [ "listen=0:80" ]',
    'cmdline = "root=/dev/xvda"',
    'on_crash = "preserve"',
  );
  await create(config('pinged', file('pinged.ts', PINGED), 'vif = [ "" ]', 'cmdline = "ip=10.0.0.1:::255.255.255.0"'));

  const xs = new XenstoreClient(await socketTransport(runPaths(rig.runDir).xenstoredSocket));
  const { seed, random } = seededRandom();
  const acknowledged: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await create(notes);
    const domid = (await rig.xl('domid', 'notes')).stdout.trim();
    const key = `/local/domain/0/backend/pvcalls/${domid}/0/listening-80`;
    await eventually('the guest listens', () => xs.exists(key));
    const port = Number(await xs.read(key));
    const dead = new AbortController();
    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      for (let i = 0; !dead.signal.aborted; i++) {
        const note = `round ${round} client ${client} note ${i}`;
        if ((await send(port, 'POST', note, dead.signal)) === 201) acknowledged.push(note);
      }
    });
    await eventually('notes are taken', () => acknowledged.some(note => note.startsWith(`round ${round} `)));
    const victim = processOfDomain(Number(domid), rig.processes());
    await pause(20 + 60 * random());
    process.kill(victim, 'SIGKILL');
    await eventually('xl list shows the crash', async () => /^notes .*sc-/m.test((await rig.xl('list')).stdout));
    dead.abort();
    await Promise.all(clients);

    // As the next guest finds it: the image itself stays as it is.
    const copy = new Uint8Array(readFileSync(image));
    const volume = mounted(new MemoryDisk(copy));
    const written = new Set(Buffer.from(filesOn(volume).readFile('notes.txt')).toString().split('\n'));
    const lost = acknowledged.filter(note => !written.has(note));
    expect(lost, `XENOLITH_SEED=${seed}`).toEqual([]);
    volume.close();
    writeFileSync(`${image}.copy`, copy);
    expect(fsck(`${image}.copy`)).toBe('clean');
    expect((await rig.xl('destroy', 'notes')).exitCode).toBe(0);
  }
  // One that ends by itself leaves it in order.
  await create(notes);
  expect((await rig.xl('shutdown', '-w', 'notes')).exitCode).toBe(0);
  expect(fsck(image)).toBe('clean');
  expect(acknowledged.length).toBeGreaterThanOrEqual(ROUNDS);
  // The other domain never noticed: it still pings, and it never failed.
  const before = rig.consoleLog('pinged').length;
  await eventually('the other domain goes on', () => rig.consoleLog('pinged').length > before);
  expect((await rig.xl('list')).stdout).toMatch(/^pinged +\d+ +16 +1 +[rb-]+ /m);
  xs.close();
});

it('fault 13: files that a guest has synced are there after it was killed, again and again on the same image', async () => {
  const { seed } = seededRandom();
  const kinds = [fatVolumes, ...(ext4Volumes ? [ext4Volumes] : [])];
  const run = new FileKills(dir, seed, kinds, rig);
  let left = 4 * kinds.length;
  await run.start();
  await run.run(2, () => left-- > 0);
  expect(run.lost, `XENOLITH_SEED=${seed}`).toEqual([]);
  expect(run.acked).toBeGreaterThan(0);
});
