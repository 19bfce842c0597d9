// The core of a domain, read by binutils and byte for byte.
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { domid, PAGE_SIZE, runPaths, vcpu_guest_context } from '#pvbus';
import { SimulatedHost } from '../../../support/simulated-host.ts';

const MIB = 16;
const FRAMES = MIB * 256;
let host: SimulatedHost;
let path: string;
let id: number;
const dir = mkdtempSync(join(tmpdir(), 'core-'));
beforeAll(async () => {
  host = await SimulatedHost.start();
  const program = host.program('export default async function main() { await new Promise(() => {}); }');
  const guest = await host.create(`name = "web"\nmemory = ${MIB}\nramdisk = "${program}"`);
  id = guest.domid;
  path = join(dir, 'core');
  await host.run(host.toolstack.dumpCore(domid(id), path));
});
afterAll(async () => {
  await host.stop();
  rmSync(dir, { recursive: true, force: true });
});

interface Section {
  readonly type: number;
  readonly at: number;
  readonly size: number;
  readonly entrySize: number;
}
function sections(): Map<string, Section> {
  const file = readFileSync(path);
  const count = file.readUInt16LE(60);
  const header = (i: number): number => Number(file.readBigUInt64LE(40)) + i * 64;
  const names = Number(file.readBigUInt64LE(header(file.readUInt16LE(62)) + 24));
  const found = new Map<string, Section>();
  for (let i = 1; i < count; i++) {
    const at = names + file.readUInt32LE(header(i));
    found.set(file.subarray(at, file.indexOf(0, at)).toString(), {
      type: file.readUInt32LE(header(i) + 4),
      at: Number(file.readBigUInt64LE(header(i) + 24)),
      size: Number(file.readBigUInt64LE(header(i) + 32)),
      entrySize: Number(file.readBigUInt64LE(header(i) + 56)),
    });
  }
  return found;
}

describe('xl dump-core', () => {
  it('writes the sections of the format, one vCPU, every frame', () => {
    const found = sections();
    expect([...found.keys()]).toEqual([
      ...['.note.Xen', '.xen_prstatus', '.xen_shared_info', '.xen_pages', '.xen_pfn', '.shstrtab'],
    ]);
    expect(found.get('.xen_prstatus')).toMatchObject({ size: vcpu_guest_context.size });
    expect(found.get('.xen_shared_info')).toMatchObject({ size: PAGE_SIZE });
    expect(found.get('.xen_pages')).toMatchObject({ size: FRAMES * PAGE_SIZE, entrySize: PAGE_SIZE });
    expect(found.get('.xen_pages')!.at % PAGE_SIZE).toBe(0);
    expect(found.get('.xen_pfn')).toMatchObject({ size: FRAMES * 8, entrySize: 8 });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("holds the domain's memory: its start_info begins with the magic, its kernel is its kernel", () => {
    const { at } = sections().get('.xen_pages')!;
    const memory = readFileSync(path).subarray(at, at + FRAMES * PAGE_SIZE);
    expect(memory.indexOf('xen-3.0-x86_64') % PAGE_SIZE).toBe(0);
    expect(memory.indexOf('the kernel of a simulated host')).toBeGreaterThan(PAGE_SIZE);
  });

  it('takes no room for frames that nobody has touched', () => {
    const { size, blocks } = statSync(path);
    expect(size).toBeGreaterThan(FRAMES * PAGE_SIZE);
    expect(blocks * 512).toBeLessThan(size / 2);
  });

  it("has notes named Xen with the header, Xen's version and the format's", () => {
    const { at, size } = sections().get('.note.Xen')!;
    const notes = readFileSync(path).subarray(at, at + size);
    const found = new Map<number, Buffer>();
    for (let n = 0; n < notes.length; ) {
      expect(notes.subarray(n + 12, n + 16).toString('latin1')).toBe('Xen\0');
      const length = notes.readUInt32LE(n + 4);
      found.set(notes.readUInt32LE(n + 8), notes.subarray(n + 16, n + 16 + length));
      n += 16 + length;
    }
    expect([...found].map(([type, { length }]) => [type.toString(16), length])).toEqual([
      ...[
        ['2000000', 0],
        ['2000001', 32],
        ['2000002', 1280],
        ['2000003', 8],
      ],
    ]);
    const header = found.get(0x2000001)!;
    const words = [0, 8, 16, 24].map(offset => Number(header.readBigUInt64LE(offset)));
    expect(words).toEqual([0xf00febed, 1, FRAMES, PAGE_SIZE]);
    expect(Number(found.get(0x2000003)!.readBigUInt64LE())).toBe(1);
    expect(Number(found.get(0x2000002)!.readBigUInt64LE())).toBe(4);
  });

  it.skipIf(!existsSync('/usr/bin/readelf'))('is read by readelf without a complaint', () => {
    const { status, stdout, stderr } = spawnSync('readelf', ['-a', '-W', path], { encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('CORE (Core file)');
    expect(stdout).toMatch(/\.xen_pages +PROGBITS/);
    expect(stdout).toMatch(/\.note\.Xen +NOTE/);
  });

  it('refuses domain 0 and a path that is relative, and leaves nothing of a file that cannot be written', async () => {
    const dump = (who: number, where: string) => host.run(host.toolstack.dumpCore(domid(who), where));
    await expect(dump(0, path)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(dump(id, 'core')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(dump(id, join(dir, 'no/core'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(dump(99, join(dir, 'core99'))).rejects.toMatchObject({ code: 'ESRCH' });
    expect(existsSync(join(dir, 'core99'))).toBe(false);
  });

  it('is what on_crash=coredump-destroy does, with the words of the real monitor', async () => {
    const program = host.program("export default async () => { throw new Error('boom'); }", 'boom.ts');
    const { domid: crashed } = await host.create(
      `name = "boom"\nmemory = 16\nramdisk = "${program}"\non_crash = "coredump-destroy"`,
    );
    const core = runPaths(host.dir).coreDump('boom');
    const log = (): string => readFileSync(runPaths(host.dir).monitorLog('boom'), 'utf8');
    await host.until(() => log().includes('Done. Exiting now'), 'the end of it');
    expect(readFileSync(core).subarray(0, 4).toString('latin1')).toBe('\x7fELF');
    expect(log().split('\n').slice(1)).toEqual([
      `Domain ${crashed} has shut down, reason code 3 0x3`,
      'Action for shutdown reason code 3 is coredump-destroy',
      `dumping core to ${core}`,
      `Domain ${crashed} needs to be cleaned up: destroying the domain`,
      'Done. Exiting now',
      '',
    ]);
  });

  it('replaces what was in the file', async () => {
    const fd = openSync(path, 'r');
    const first = Buffer.alloc(4);
    readSync(fd, first, 0, 4, 0);
    closeSync(fd);
    await host.run(host.toolstack.dumpCore(domid(id), path));
    expect(readFileSync(path).subarray(0, 4)).toEqual(first);
  });
});
