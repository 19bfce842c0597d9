// Run by the build, with the flags of the processes that are to take it (hypervisor/child-processes.ts): keeps what the
// engine makes of files, all their functions compiled. `node FLAGS code-keep.cjs FILE...`
const { mkdirSync, readFileSync, writeFileSync } = require('node:fs');
const Module = require('node:module');
const { dirname } = require('node:path');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');
const { keptAt } = require('./code-load.cjs');

for (const filename of process.argv.slice(2)) {
  const text = Module.wrap(readFileSync(filename, 'utf8'));
  setFlagsFromString('--no-lazy');
  const script = new Script(text, { filename });
  // order: those who take it are lazy, and it is for the flags that hold when it is made.
  setFlagsFromString('--lazy');
  mkdirSync(dirname(keptAt(filename)), { recursive: true });
  writeFileSync(keptAt(filename), script.createCachedData());
}
