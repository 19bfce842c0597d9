// What dist/cli is loaded by: the modules that most calls need are functions of one script, of which the build keeps what
// the engine has made of it. The others are files beside it. `load.cjs` in dist/cli.
const { readFileSync } = require('node:fs');
const Module = require('node:module');
const { Script } = require('node:vm');

const path = `${__dirname}/pack.js`;
/** Another engine's is refused, and then the script compiled. */
const kept = `${__dirname}/pack.${process.versions.v8}.cache`;
const script = new Script(readFileSync(path, 'latin1'), { filename: path, cachedData: whatIsKept() });
const packed = script.runInThisContext();
const modules = new Map();

function whatIsKept() {
  try {
    return readFileSync(kept);
  } catch {
    return undefined; // the build was another engine's
  }
}

function load(id) {
  if (!id.startsWith('./')) return require(id);
  const known = modules.get(id);
  if (known !== undefined) return known.exports;
  const filename = __dirname + id.slice(1);
  const module = new Module(filename);
  modules.set(id, module); // order: before it runs, for those that need one another
  module.filename = filename;
  module.paths = [];
  module.require = load;
  const run = packed[id];
  if (run === undefined) Module._extensions['.js'](module, filename);
  else run(module.exports, load, module, filename, __dirname);
  return module.exports;
}

module.exports = { load, packed, kept, script };
