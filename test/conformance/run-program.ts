// A program, run to its end.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Ended {
  /** Its exit code; a signal's name if it died of one. */
  readonly code: number | NodeJS.Signals;
  /** Bytes, as latin1. */
  readonly stdout: string;
  readonly stderr: string;
}

export async function runProgram(path: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  const child = spawn(path, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('latin1').on('data', text => {
    stdout += text;
  });
  child.stderr.setEncoding('latin1').on('data', text => {
    stderr += text;
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code: code ?? signal ?? 0, stdout, stderr };
}
