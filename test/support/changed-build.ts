// A build in which something is otherwise: a copy of dist/ beside the modules that it needs.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dist, root } from './host-rig.ts';

type Change = (text: string) => string;

/** `changes`: by file of dist/; one that changes nothing is a mistake. Returns its directory, which the caller removes. */
export function changedBuild(name: string, changes: Readonly<Record<string, Change>>): string {
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const dir = mkdtempSync(join(cache, `${name}-`));
  cpSync(dist('.'), join(dir, 'dist'), { recursive: true });
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
  for (const [file, change] of Object.entries(changes)) {
    const path = join(dir, 'dist', file);
    const text = readFileSync(path, 'utf8');
    const changed = change(text);
    if (changed === text) throw new Error(`${file}: there is nothing to change`);
    writeFileSync(path, changed);
  }
  return dir;
}
