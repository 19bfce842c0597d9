// A program or an archive in place of a program's text: what the domain's memory holds of it.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { ImageLoader, MAX_RAMDISK_BYTES } from '../../../../dom0/toolstack/bundle-program.ts';
import { PreparedPrograms } from '../../../../dom0/toolstack/prepared-programs.ts';
import { archiveEntries, parseInitConfig, preparedLayout } from '../../../../pvbus/index.ts';
import { dist } from '../../../support/host-view.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-root-'));
const cache = join(dir, 'cache');
const loader = new ImageLoader(32, new PreparedPrograms(cache));
afterAll(async () => {
  await loader.close();
  rmSync(dir, { recursive: true });
});

/** (module (memory (export "memory") 1) (func (export "_start"))) */
const PROGRAM = Uint8Array.from([
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1],
  ...[7, 19, 2, 6, ...Buffer.from('memory'), 2, 0, 6, ...Buffer.from('_start'), 0, 0, 10, 4, 1, 2, 0, 0x0b],
]);
const file = (name: string, bytes: Uint8Array | string): string => {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
};
const unpacked = (archive: Uint8Array) => new Map([...archiveEntries(archive)].map(entry => [entry.path, entry]));
const initOf = (archive: Uint8Array) =>
  parseInitConfig(Buffer.from(unpacked(archive).get('etc/init.json')!.data).toString());

describe('a WASI program', () => {
  test('becomes an archive that holds it, prepared, and what says to run it', async () => {
    const archive = await loader.load('ramdisk', file('hello.wasm', PROGRAM));
    const program = unpacked(archive).get('bin/hello')!;
    expect(program).toMatchObject({ type: 'file', mode: 0o755 });
    expect(preparedLayout(program.data)).toMatchObject({ minPages: 1 });
    expect(initOf(archive)).toMatchObject({ argv: ['/bin/hello'], env: {}, stdio: null });
  });

  test('is given arguments and environment where somebody says so', async () => {
    const init = {
      argv: ['hello', 'two words'],
      env: { A: 'b' },
      cwd: '/tmp',
      mounts: null,
      directories: null,
      listen: null,
      stdio: null,
    };
    expect(initOf(await loader.load('ramdisk', file('hello.wasm', PROGRAM), init))).toEqual(init);
  });

  test('is there as soon as it is written: who prepares it waits for none of the engine’s threads', () => {
    const [from, to] = [file('written.wasm', PROGRAM), join(dir, 'written')];
    const waits = file('waits.cjs', 'setInterval(() => {}, 1000);');
    const program = dist('prepare-program.js');
    const prepare = (source: string) =>
      spawnSync(process.execPath, ['--require', waits, program, String(process.pid), source, to], { timeout: 60_000 });
    expect(prepare(from)).toMatchObject({ status: 0, signal: null });
    expect(preparedLayout(readFileSync(to))).toMatchObject({ minPages: 1 });
    const refused = prepare(file('none.wasm', 'no program'));
    expect([refused.status, String(refused.stderr)]).toEqual([1, expect.stringMatching(/^WebAssembly program: .*\n$/)]);
  });

  test('is prepared once; a kept one that was damaged is made anew', async () => {
    const bytes = file('kept.wasm', Buffer.concat([PROGRAM, Uint8Array.from([0, 2, 1, 0x78])]));
    const first = await loader.load('ramdisk', bytes);
    const again = (): Promise<Uint8Array> => new ImageLoader(1, new PreparedPrograms(cache)).load('ramdisk', bytes);
    expect(await again()).toEqual(first);
    const kept = readdirSync(cache);
    for (const name of kept) {
      const damaged = readFileSync(join(cache, name));
      damaged[damaged.length - 1]! ^= 1;
      writeFileSync(join(cache, name), damaged);
    }
    expect(await again()).toEqual(first);
    expect(readdirSync(cache)).toEqual(kept);
  });

  test('that is none is refused with the reason', async () => {
    const path = file('broken.wasm', PROGRAM.subarray(0, 30));
    await expect(loader.load('ramdisk', path)).rejects.toMatchObject({
      code: 'ENOEXEC',
      message: expect.stringContaining(`ramdisk: ${path}: WebAssembly`),
    });
  });
});

describe('an archive', () => {
  const tree = join(dir, 'tree');
  mkdirSync(join(tree, 'etc'), { recursive: true });
  mkdirSync(join(tree, 'usr'));
  writeFileSync(join(tree, 'usr', 'tool'), PROGRAM);
  writeFileSync(join(tree, 'etc', 'init.json'), JSON.stringify({ argv: ['/usr/tool', '-v'] }));
  const make = (name: string, command: string): string => {
    const path = join(dir, name);
    execFileSync('sh', ['-c', `${command} > '${path}'`], { cwd: dir });
    return path;
  };

  test.each([
    ['root.tar', 'tar -C tree -cf - .'],
    ['root.tgz', 'tar -C tree -czf - .'],
    ['root.tar.gz', 'tar -C tree -czf - .'],
    ['root.cpio', '(cd tree && find . | cpio --quiet -o -H newc)'],
    ['root.cpio.gz', '(cd tree && find . | cpio --quiet -o -H newc | gzip)'],
  ])('%s: its programs are prepared, whatever they are called, and the rest is as it was', async (name, command) => {
    const archive = await loader.load('ramdisk', make(name, command));
    expect(preparedLayout(unpacked(archive).get('usr/tool')!.data)).toBeDefined();
    expect(initOf(archive)).toMatchObject({ argv: ['/usr/tool', '-v'], env: {} });
  });

  test('that grows beyond the bound when it is uncompressed is refused', async () => {
    const path = file('bomb.tar.gz', gzipSync(new Uint8Array(MAX_RAMDISK_BYTES + 1), { level: 1 }));
    await expect(loader.load('ramdisk', path)).rejects.toMatchObject({
      code: 'E2BIG',
      message: `ramdisk: ${path}: uncompressed it has more than ${MAX_RAMDISK_BYTES >> 20} MiB`,
    });
  });

  test.each([
    ['noise.tar', 'x'.repeat(2048), 'it is neither a tar nor a cpio archive (newc)'],
    ['noise.tgz', 'x'.repeat(2048), 'it cannot be uncompressed: incorrect header check'],
  ])('%s that is none is refused', async (name, text, why) => {
    const path = file(name, text);
    await expect(loader.load('ramdisk', path)).rejects.toThrow(`ramdisk: ${path}: ${why}`);
  });

  test('a text is no root: what to run first cannot be said of it', async () => {
    const init = { argv: ['x'], env: {}, cwd: null, mounts: null, directories: null, listen: null, stdio: null };
    await expect(loader.load('ramdisk', file('text.cjs', '1'), init)).rejects.toThrow('is no root file system');
  });
});
