// Run by the build: loads what dist/cli has packed, has xl do something, and keeps what the engine has compiled for that.
// `node cli-keep.cjs LOAD CONFIG`
const { writeFileSync } = require('node:fs');

const [, , loader, config] = process.argv;
const { load, packed, kept, script } = require(loader);
process.argv.splice(2, 2, '-N', 'create', config);
for (const id of Object.keys(packed)) load(id);
process.on('exit', () => writeFileSync(kept, script.createCachedData()));
