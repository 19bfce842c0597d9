// What tests compile is kept for all checkouts of this machine.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type * as wasiCc from '../support/wasi-cc.ts';
import { whyNoWasi } from '../support/wasi-cc.ts';

const SOURCE = '#include <assert.h>\nint main(int argc, char **argv) { assert(argc == 1); return 0; }\n';
const checkouts = ['one', 'two'].map(name => mkdtempSync(join(tmpdir(), `xenolith-checkout-${name}-`)));
afterAll(() => {
  for (const dir of checkouts) rmSync(dir, { recursive: true });
});

it.skipIf(whyNoWasi() !== undefined)(
  'a program is compiled once for all checkouts, and names none of them',
  async () => {
    const programs = [];
    for (const dir of checkouts) {
      const support = join(dir, 'test/support');
      for (const name of ['wasi-cc.ts', 'cached-build.ts', 'processes.ts', 'programs'])
        cpSync(join(import.meta.dirname, '../support', name), join(support, name), { recursive: true });
      const source = join(dir, 'test/asserts.c');
      writeFileSync(source, SOURCE);
      const { compileWasi } = (await import(join(support, 'wasi-cc.ts'))) as typeof wasiCc;
      programs.push(await compileWasi(source, { posix: true, flags: ['-I', join(dir, 'test')] }));
    }
    expect(programs[1]).toBe(programs[0]);
    const text = readFileSync(programs[0]!, 'latin1');
    expect(text).toContain('asserts.c');
    for (const dir of checkouts) expect(text).not.toContain(dir);
  },
);
