// A process of its own that makes one WASI program suspendable: `prepare-program.js PARENT IN OUT`. It may take seconds
// and much memory, which is nothing for dom0's event loop. What is wrong with the program goes to stderr, in one line.
import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import { dieWithParent, exitProcess, prepareProgram } from '#pvbus';

const [parent, from, to] = process.argv.slice(2);
dieWithParent(Number(parent));
try {
  writeFileSync(to!, prepareProgram(readFileSync(from!)), { mode: 0o755 });
  // Not by returning: Node waits for the engine's compilers then, of which one may wait for a garbage collection of this thread.
  exitProcess(0);
} catch (error) {
  writeSync(2, `${error instanceof Error ? error.message : error}\n`);
  exitProcess(1);
}
