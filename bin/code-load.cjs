// Loaded before a program whose start guests wait for (`--require`), in each of its threads too: what the engine has made
// of our files at the build is taken in place of compiling them. `code-load.cjs` in dist.
const { readFileSync } = require('node:fs');
const Module = require('node:module');
const { dirname } = require('node:path');
const { Script } = require('node:vm');

const compile = Module.prototype._compile;

/** Where that of a file is kept. Another engine's, or what other flags have led to, is refused, and then the file compiled. */
const keptAt = file => `${dirname(file)}/code/${file.slice(dirname(file).length + 1)}.${process.versions.v8}.cache`;

function kept(file) {
  if (dirname(file) !== __dirname) return undefined;
  try {
    return readFileSync(keptAt(file));
  } catch {
    return undefined;
  }
}

Module.prototype._compile = function (text, filename, ...rest) {
  const cachedData = kept(filename);
  if (cachedData === undefined) return compile.call(this, text, filename, ...rest);
  const run = new Script(Module.wrap(text), { filename, cachedData }).runInThisContext();
  return run.call(this.exports, this.exports, id => this.require(id), this, filename, __dirname);
};

module.exports = { keptAt };
