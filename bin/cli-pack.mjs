// dist/cli: the modules of what is called most become one script, with its compiled code beside it. Node takes a quarter
// of a millisecond to find each file, and longer to compile it.
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Called from scripts, again and again. */
const PACKED = ['run', 'create', 'list', 'destroy', 'console', 'domid'].map(name => `tools/commands/${name}.ts`);
PACKED.push('tools/toolstack-client.ts');

const beside = name => fileURLToPath(new URL(name, import.meta.url));

/** `dir` has the files of `outputs`, a metafile's; `programs` are its entries, whose files come to load the rest. */
export function packCli(dir, outputs, programs) {
  const files = new Map(Object.entries(outputs).map(([path, output]) => [basename(path), output]));
  const packed = new Set();
  const add = name => {
    if (packed.has(name)) return;
    packed.add(name);
    for (const { path, kind } of files.get(name).imports)
      if (kind === 'import-statement' && files.has(basename(path))) add(basename(path));
  };
  const entries = programs.map(name => `${name}.js`);
  for (const entry of entries) add(entry);
  for (const [name, { entryPoint }] of files) if (PACKED.includes(entryPoint)) add(name);

  const idOf = name => (entries.includes(name) ? `./${name.replace(/\.js$/, '-program.js')}` : `./${name}`);
  const functions = [...packed].map(name => {
    const text = readFileSync(join(dir, name), 'latin1');
    rmSync(join(dir, name));
    return `${JSON.stringify(idOf(name))}:function(exports,require,module,__filename,__dirname){${text}\n}`;
  });
  const pack = `({${functions.join(',\n')}})\n`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII, which is read without decoding.
  if (/[^\x00-\x7f]/.test(pack)) throw new Error('dist/cli: not all of it is ASCII');
  writeFileSync(join(dir, 'pack.js'), pack);
  copyFileSync(beside('cli-load.cjs'), join(dir, 'load.cjs'));
  for (const name of programs) {
    writeFileSync(join(dir, `${name}.js`), `require('./load.cjs').load('./${name}-program.js');\n`);
  }
  keep(dir);
}

function keep(dir) {
  const config = join(dir, 'domain.cfg');
  writeFileSync(config, 'name="pack"\nkernel="/dev/null"\nmemory=64\n');
  execFileSync(process.execPath, [beside('cli-keep.cjs'), join(dir, 'load.cjs'), config], { stdio: 'ignore' });
  rmSync(config);
}
