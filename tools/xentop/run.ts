// One call of xentop.

import { messageOf, runDir, runPaths } from '#pvbus';
import type { XlIo } from '../commands/command.ts';
import { ToolstackClient } from '../toolstack-client.ts';
import { HELP, type XentopOptions, xentopOptions } from './options.ts';
import { type Sample, takeSample } from './sample.ts';
import { runOnTerminal, Screen } from './screen.ts';
import { tableLines } from './table.ts';

/** How the process waits, passed in: resolves early when interrupted. */
export type Sleep = (ms: number, interrupted: AbortSignal) => Promise<void>;

/** `name`: as the program was called. Resolves with the exit code. */
export async function runXentop(
  name: string,
  argv: readonly string[],
  io: XlIo,
  sleep: Sleep = sleepFor,
): Promise<number> {
  const call = xentopOptions(argv);
  const usage = `Usage: ${name} [OPTION]\n${HELP}`;
  if (call === 'version') {
    io.stdout.write('xentop 1.0 (xenolith)\n');
    return 0;
  }
  if (call === 'help' || 'wrong' in call) {
    if (call !== 'help') {
      const dashes =
        call.wrong.length === 1 ? `invalid option -- '${call.wrong}'` : `unrecognized option '--${call.wrong}'`;
      io.stderr.write(`${name}: ${dashes}\n`);
    }
    io.stdout.write(usage); // Xen: and it is no failure
    return 0;
  }
  if (!call.batch && io.stdout.isTTY !== true) {
    io.stderr.write('xentop: standard output is no terminal; xentop -b prints plain lines\n');
    return 1;
  }
  let client: ToolstackClient;
  try {
    client = await ToolstackClient.connect(runPaths(runDir(io.env)).toolstackSocket);
  } catch (error) {
    io.stderr.write(`${messageOf(error)}\nFailed to initialize xenstat library\n`);
    return 1;
  }
  let before: Sample | undefined;
  const sample = async (): Promise<Sample> => {
    before = await takeSample(client, () => performance.now(), before);
    return before;
  };
  const interrupted = io.interrupted();
  try {
    if (call.batch) await runBatch(call, io, interrupted, sample, sleep);
    else await runOnTerminal(new Screen(call, () => new Date()), io, interrupted, sample);
    return 0;
  } catch (error) {
    io.stderr.write(`${messageOf(error)}\nFailed to retrieve statistics from libxenstat\n`);
    return 1;
  } finally {
    client.close();
  }
}

async function runBatch(
  options: XentopOptions,
  io: XlIo,
  interrupted: AbortSignal,
  sample: () => Promise<Sample>,
  sleep: Sleep,
): Promise<void> {
  for (let left = options.iterations; !interrupted.aborted; ) {
    const text = tableLines(await sample(), options)
      .map(line => `${line}\n`)
      .join('');
    io.stdout.write(text);
    if (options.iterations > 0 && --left === 0) return;
    await sleep(options.delaySeconds * 1000, interrupted);
  }
}

function sleepFor(ms: number, interrupted: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer);
      interrupted.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    interrupted.addEventListener('abort', done);
    if (interrupted.aborted) done();
  });
}
