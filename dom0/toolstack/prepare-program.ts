// A process of its own that makes one WASI program suspendable: `prepare-program.js PARENT IN OUT`. It may take seconds
// and much memory, which is nothing for dom0's event loop. What is wrong with the program goes to stderr, in one line.
import { readFileSync, writeFileSync } from 'node:fs';
import { dieWithParent, prepareProgram } from '#pvbus';

const [parent, from, to] = process.argv.slice(2);
dieWithParent(Number(parent));
try {
  writeFileSync(to!, prepareProgram(readFileSync(from!)));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
