// Processes of a whole domain: of a root on a disk, and beside a program in TypeScript.
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { filesOn, formattedDisk, mounted } from '../../support/fatfs.ts';
import { MemoryDisk } from '../../support/memory-disk.ts';
import { type SimulatedGuest, SimulatedHost } from '../../support/simulated-host.ts';
import { compileWasi, whyNoWasi } from '../../support/wasi-cc.ts';

const missing = whyNoWasi();
const source = fileURLToPath(new URL('process/acts.c', import.meta.url));
let acts: Uint8Array;
let host: SimulatedHost;
beforeAll(async () => {
  if (missing === undefined) acts = readFileSync(await compileWasi(source, { flags: ['-O1'] }));
});
beforeEach(async () => {
  host = await SimulatedHost.start();
});
afterEach(() => host.stop());

/** A config with a FAT disk of these files as root. */
function cfg(files: Readonly<Record<string, string | Uint8Array>>, ...lines: string[]): string {
  const disk = formattedDisk(2 << 20);
  const volume = mounted(disk);
  for (const [path, content] of Object.entries(files)) {
    const directory = path.slice(0, path.lastIndexOf('/'));
    if (directory !== '') filesOn(volume).mkdir(directory, true);
    filesOn(volume).writeFile(path, Buffer.from(content));
  }
  volume.sync();
  const path = join(host.dir, 'disk.img');
  writeFileSync(path, disk.bytes);
  return ['name = "p"', 'memory = 32', `disk = [ "${path},raw,xvda,w" ]`, 'on_poweroff = "preserve"', ...lines].join(
    '\n',
  );
}
const root = 'cmdline = "root=/dev/xvda"';
const image = () => mounted(new MemoryDisk(new Uint8Array(readFileSync(join(host.dir, 'disk.img')))));
function type(guest: SimulatedGuest, keys: string): void {
  const terminal = connect(host.toolstackConsole(guest.domid));
  terminal.on('error', () => {});
  terminal.end(keys);
}
const exitCode = (guest: SimulatedGuest): Promise<string> =>
  host.run(host.xs.read(`/local/domain/${guest.domid}/data/exit-code`));

describe('a domain without a program', () => {
  it('runs /etc/rc of its root, and powers off with what it wrote on the disk and its code in xenstore', async () => {
    const rc = '#!/bin/sh\necho hello from $PWD > /out\ncat /out\nexit 3\n';
    const guest = await host.create(cfg({ '/etc/rc': rc }, root));
    await guest.says('hello from /\n');
    await host.until(() => guest.stopped, 'the power off');
    expect(await exitCode(guest)).toBe('3');
    expect(Buffer.from(filesOn(image()).readFile('/out')).toString()).toBe('hello from /\n');
  });

  it('runs what init= names; /bin/sh is always there', async () => {
    const guest = await host.create(cfg({}, 'cmdline = "root=/dev/xvda init=/bin/sh"'));
    await guest.says('p:/# ');
    type(guest, 'mkdir /d; mount -t tmpfs none /d; echo x > /d/f; df; umount /d; ls /d; exit 4\r');
    await guest.says('  /d\n');
    await host.until(() => guest.stopped, 'the power off');
    expect(await exitCode(guest)).toBe('4');
  });

  it('tells that its first program is not there', async () => {
    const guest = await host.create(cfg({}, 'cmdline = "root=/dev/xvda init=/bin/none"'));
    await guest.says('/bin/none: not found');
    await host.until(() => guest.stopped, 'the power off');
    expect(await exitCode(guest)).toBe('127');
  });

  it('is shut down while its processes run', async () => {
    const guest = await host.create(cfg({ '/etc/rc': '#!/bin/sh\necho up\nwhile true; do sleep 1000; done\n' }, root));
    await guest.says('up\n');
    await host.run(host.toolstack.shutdown(guest.domid, 'poweroff'));
    await host.until(() => guest.stopped, 'the power off');
  });
});

describe.skipIf(missing !== undefined)(`processes of a program in TypeScript${missing ? ` (${missing})` : ''}`, () => {
  it('have pipes, an exit code, and are killed', async () => {
    const program = host.program(`
      import { console, processes } from 'xenolith';
      export default async function main() {
        const cat = processes.spawn('/acts.wasm', ['cat'], { stdin: 'pipe', stdout: 'pipe' });
        const text = cat.stdout.text();
        for (let n = 0; n < 3000; n++) await cat.stdin.write('line ' + n + '\\n');
        cat.stdin.end();
        console.log((await text).length, JSON.stringify(await cat.wait()));
        const env = processes.spawn('/acts.wasm', ['env'], { env: { A: 'x' }, stdout: 'pipe' });
        console.log((await env.stdout.text()).trim());
        const sleep = processes.spawn('/acts.wasm', ['sleep', '100000']);
        console.log(processes.list().length, processes.list()[0].argv.join(' '));
        sleep.kill('INT');
        console.log(JSON.stringify(await sleep.wait()), processes.list().length);
        console.log((await processes.spawn('/none').wait()).code);
        const gone = processes.spawn('/acts.wasm', ['exit'], { stdin: 'pipe' });
        await gone.wait();
        await gone.stdin.write('x').catch(error => console.log(error.code));
        processes.spawn('/acts.wasm', ['write', '2']);
        await new Promise(() => {});
      }`);
    const guest = await host.create(cfg({ '/acts.wasm': acts }, root, `ramdisk = "${program}"`));
    await guest.says('28890 {"code":0}\n/ x 2\n1 /acts.wasm sleep 100000\n{"code":130,"signal":"SIGINT"} 0\n');
    await guest.says('/none: not found\n127\nEPIPE\nline 0\nline 1\n');
  });
});
