import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const FOLDERS = ['pvbus', 'hypervisor', 'dom0', 'domu-kernel', 'tools'];

/** `file: specifier` of every import in a folder. */
function imports(folder: string): { file: string; from: string }[] {
  return readdirSync(join(root, folder), { recursive: true })
    .map(String)
    .filter(name => /\.(ts|mts|mjs)$/.test(name))
    .flatMap(name => {
      const file = join(folder, name);
      const text = readFileSync(join(root, file), 'utf8');
      const specifiers = text.matchAll(
        /(?:^|\n)\s*(?:import|export)\s[^'"`;]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s+'([^']+)'/g,
      );
      return [...specifiers].map(match => ({ file, from: (match[1] ?? match[2] ?? match[3])! }));
    });
}
/** The top-level folder an import of ours leads to; undefined for a package. */
function target(file: string, from: string): string | undefined {
  if (from === '#pvbus') return 'pvbus';
  if (!from.startsWith('.')) return undefined;
  const folder = relative(root, join(root, dirname(file), from)).split('/')[0];
  return folder === 'node_modules' ? undefined : folder;
}

describe('who may import whom', () => {
  it.each(FOLDERS)('%s reaches other folders through #pvbus only', folder => {
    const all = imports(folder);
    expect(all.length).toBeGreaterThan(0);
    const wrong = all.filter(({ file, from }) => {
      const to = target(file, from);
      return to !== undefined && to !== folder && from !== '#pvbus';
    });
    expect(wrong).toEqual([]);
  });

  it('pvbus imports nothing of ours from outside, and never itself by #pvbus', () => {
    expect(imports('pvbus').filter(({ from }) => from === '#pvbus')).toEqual([]);
  });

  it('the public abi is tables only: it imports struct.ts and its own files', () => {
    const wrong = imports('pvbus/abi').filter(({ from }) => from !== '../struct.ts' && !/^\.\/[\w-]+\.ts$/.test(from));
    expect(wrong).toEqual([]);
  });

  // xl doctor says why koffi cannot be loaded, which pvbus needs to be loaded itself.
  it('only linux.ts knows koffi, and what asks whether it is there', () => {
    const users = FOLDERS.flatMap(imports).filter(({ from }) => from === 'koffi');
    expect(users.map(({ file }) => file)).toEqual(['pvbus/linux.ts', 'tools/doctor/machine.ts']);
  });
});
