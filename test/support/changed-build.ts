// A build in which something is otherwise: a copy of dist/ beside the modules that it needs.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { dist, root } from './host-rig.ts';

type Change = (text: string) => string;

/** `changes`: by file of dist/; one that changes nothing is a mistake. Returns its directory, which the caller removes. */
export function changedBuild(name: string, changes: Readonly<Record<string, Change>>): string {
  const texts = Object.entries(changes).map(([file, change]) => {
    const text = readFileSync(dist(file), 'utf8');
    const changed = change(text);
    if (changed === text) throw new Error(`${file}: there is nothing to change`);
    return [file, changed] as const;
  });
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const dir = mkdtempSync(join(cache, `${name}-`));
  // What is compiled already stays behind: the engine knows its text by the length alone.
  cpSync(dist('.'), join(dir, 'dist'), { recursive: true, filter: path => basename(path) !== 'code' });
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
  for (const [file, text] of texts) writeFileSync(join(dir, 'dist', file), text);
  return dir;
}
