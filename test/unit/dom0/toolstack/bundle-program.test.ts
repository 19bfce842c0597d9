import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  checkImage,
  ImageLoader,
  MAX_KERNEL_BYTES,
  MAX_RAMDISK_BYTES,
} from '../../../../dom0/toolstack/bundle-program.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-bundle-'));
const loader = new ImageLoader();
afterAll(async () => {
  await loader.close();
  rmSync(dir, { recursive: true });
});
const file = (name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};
/** Run a bundle as the guest kernel does. */
function run(text: Uint8Array, xenolith: unknown): unknown {
  const module = { exports: {} as Record<string, unknown> };
  const require = (name: string): unknown => {
    if (name === 'xenolith') return xenolith;
    throw new Error(`no ${name}`);
  };
  new Function('require', 'module', 'exports', Buffer.from(text).toString())(require, module, module.exports);
  return module.exports;
}

describe('a program', () => {
  it('in TypeScript becomes one CommonJS text that asks for nothing but xenolith', async () => {
    file('part.ts', 'export const greet = (name: string): string => "hello " + name;');
    const path = file(
      'program.ts',
      `import { name } from 'xenolith'; import { greet } from './part.ts'; export const said: string = greet(name);`,
    );
    expect(run(await loader.load('ramdisk', path), { name: 'dom3' })).toMatchObject({ said: 'hello dom3' });
  });

  it.each(['.js', '.mjs', '.mts'])('may be a module in %s', async extension => {
    const path = file(`program${extension}`, `export const n = 6 * 7;`);
    expect(run(await loader.load('ramdisk', path), {})).toMatchObject({ n: 42 });
  });

  it('that is CommonJS is taken as it is', async () => {
    const text = 'module.exports = 1; // as it is';
    expect(Buffer.from(await loader.load('ramdisk', file('ready.cjs', text))).toString()).toBe(text);
  });

  it('is bundled anew when a part of it has changed, and only then', async () => {
    const part = file('changing.ts', 'export const n = 1;');
    const path = file('whole.ts', `export { n } from './changing.ts';`);
    const first = await loader.load('ramdisk', path);
    expect(await loader.load('ramdisk', path)).toBe(first);
    writeFileSync(part, 'export const n = 22;');
    expect(run(await loader.load('ramdisk', path), {})).toMatchObject({ n: 22 });
  });

  it('that names a module of Node is refused, with file and line', async () => {
    const path = file('bad-import.ts', `\nimport { readFileSync } from 'node:fs';\nreadFileSync('/etc/passwd');`);
    await expect(loader.load('ramdisk', path)).rejects.toThrow(
      `ramdisk: ${path} cannot be bundled: ${path}:2: Could not resolve "node:fs"`,
    );
  });

  it('with a syntax error is refused, with file and line', async () => {
    const path = file('bad-syntax.ts', `let a = ;`);
    await expect(loader.load('ramdisk', path)).rejects.toMatchObject({
      code: 'ENOEXEC',
      message: expect.stringContaining(`${path}:1: Unexpected`),
    });
  });
});

describe('an image', () => {
  it('must exist, be a file, and have a known ending: the error names key and path', async () => {
    await expect(checkImage('kernel', join(dir, 'none.js'))).rejects.toMatchObject({
      code: 'ENOENT',
      message: `kernel: ${dir}/none.js does not exist`,
    });
    mkdirSync(join(dir, 'folder.js'));
    await expect(checkImage('kernel', join(dir, 'folder.js'))).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(checkImage('ramdisk', file('initrd.gz', 'x'))).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('is none of .cjs, .ts'),
    });
  });

  it.each([
    ['kernel', MAX_KERNEL_BYTES],
    ['ramdisk', MAX_RAMDISK_BYTES],
  ] as const)('of a %s beyond its bound is refused before it is read (XSA-25)', async (key, limit) => {
    const path = file(`large-${key}.cjs`, '');
    truncateSync(path, limit + 1);
    await expect(loader.load(key, path)).rejects.toMatchObject({
      code: 'E2BIG',
      message: `${key}: ${path} has ${(limit / 2 ** 20).toFixed(1)} MiB, at most ${(limit / 2 ** 20).toFixed(1)} MiB are taken`,
    });
  });

  it('that is empty is refused', async () => {
    await expect(loader.load('kernel', file('empty.js', ''))).rejects.toMatchObject({ code: 'ENOEXEC' });
  });

  it.skipIf(process.getuid?.() === 0)('that may not be read is refused', async () => {
    const path = file('secret.cjs', 'x');
    chmodSync(path, 0);
    await expect(loader.load('kernel', path)).rejects.toThrow(`kernel: ${path} may not be read`);
  });
});
