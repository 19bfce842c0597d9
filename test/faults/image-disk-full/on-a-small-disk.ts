// Run with a folder whose `small` is a small file system of its own: a host with a disk there, which its guest fills, and
// one beside it. Prints JSON.
import { closeSync, openSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type * as library from '../../../tools/library/xenolith.d.ts';
import { dist } from '../../support/host-view.ts';

const { expectInvariant, Host }: typeof library = await import(dist('library.mjs'));

const ramdisk = fileURLToPath(new URL('../fault-plans/guest.ts', import.meta.url));
const folder = process.argv[2]!;
const image = join(folder, 'small', 'disk.img');
const elsewhere = join(folder, 'other.img');
const filler = join(folder, 'small', 'filler');
const PAGE = 4096;
const SECTORS = PAGE / 512;
/** Left for the image. */
const ROOM = 16;

const host = await Host.start({ memory: '256M' });
try {
  for (const path of [image, elsewhere]) {
    closeSync(openSync(path, 'w'));
    truncateSync(path, 4 << 20);
  }
  const guest = async (name: string, path: string): Promise<(line: string) => Promise<string>> => {
    await host.domain(name).create({ ramdisk, memory: 16, disk: [`${path},raw,xvda,w`] });
    const console = await host.domain(name).console();
    await console.waitFor('ready');
    return async line => {
      console.write(`${line}\n`);
      return /> (.*) </.exec(await console.waitFor(/> .* </))![1]!;
    };
  };
  const [one, other] = await Promise.all([guest('one', image), guest('other', elsewhere)]);

  writeFileSync(filler, new Uint8Array((statfsSync(filler.replace(/filler$/, '')).bavail - ROOM) * PAGE));
  const byte = (n: number): number => (n % 250) + 1;
  const page = (n: number): Uint8Array => new Uint8Array(PAGE).fill(byte(n));
  const write = (n: number): Promise<string> => one(`write ${n * SECTORS} ${byte(n)}`);
  let n = 0;
  while (n < 4 * ROOM && (await write(n)) === 'ok') n++;
  const full = {
    write: await write(n),
    again: await write(n + 1),
    allocated: await write(0),
    hole: await one(`read ${4 * ROOM * SECTORS} 0`),
    kept: await one(`read ${(n - 1) * SECTORS} ${byte(n - 1)}`),
    flush: await one('flush'),
    other: await other('write 0 7'),
    flushOther: await other('flush'),
  };
  const written = (to: number) => Array.from({ length: to }, (_, i) => ({ sector: i * SECTORS, data: page(i) }));
  await expectInvariant(host, 'I1', { image, acknowledged: written(n) });
  const before = new Uint8Array(PAGE);
  const failed = [n, n + 1].map(i => ({ sector: i * SECTORS, data: page(i), before }));
  await expectInvariant(host, 'I2', { image, unacknowledged: failed });

  rmSync(filler);
  const again = {
    write: await write(n),
    flush: await one('flush'),
    read: await one(`read ${n * SECTORS} ${byte(n)}`),
    other: await other('read 0 7'),
  };
  await expectInvariant(host, 'I1', { image, acknowledged: written(n + 1) });
  await expectInvariant(host, 'I8', { domains: ['other'] });
  console.log(JSON.stringify({ acknowledged: n, full, again, log: host.log() }));
} finally {
  await host.stop();
}
