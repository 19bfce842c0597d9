// A program on Node's WASI host, in a process of its own, with a host directory as its root: the oracle.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface NodeRun {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
}

const MAIN = `
const { WASI } = require('node:wasi');
const [root, file, ...args] = process.argv.slice(1);
const wasi = new WASI({ version: 'preview1', args: [file, ...args], preopens: { '/': root }, env: { HOME: '/' }, returnOnExit: true });
const module = new WebAssembly.Module(require('node:fs').readFileSync(file));
process.exitCode = wasi.start(new WebAssembly.Instance(module, wasi.getImportObject()));
`;

export async function runOnNode(file: string, args: readonly string[], root: string, stdin = ''): Promise<NodeRun> {
  const child = spawn(process.execPath, ['--no-warnings', '-e', MAIN, '--', root, file, ...args]);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', chunk => {
      output[name] += chunk;
    });
  }
  child.stdin.end(stdin);
  const [code] = await once(child, 'close');
  return { ...output, code };
}
