// `processes`: WASI programs beside the domain's own program.
import type { ChildProcess, ProcessInput, ProcessOutput, SpawnOptions } from 'xenolith';
import { XenError } from '#pvbus';
import type { Kernel } from '../kernel.ts';
import { nullFile } from '../process/null-file.ts';
import type { OpenFile } from '../process/open-file.ts';
import { Pipe } from '../process/pipe.ts';
import { type ExitStatus, exitNumber, ProcessExit } from '../process/process.ts';
import { signalNamed } from '../process/signals.ts';
import { Wait } from '../process/wait.ts';
import { absolutePath } from '../shell/paths.ts';
import { makeUserland } from '../start-userland.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const CHUNK = 65536;

export function processesApi(kernel: Kernel): typeof import('xenolith').processes {
  const userland = () => kernel.userland ?? makeUserland(kernel);
  return {
    spawn: (path, args = [], options = {}) => spawn(userland(), path, args, options),
    list: () =>
      (kernel.userland?.processes.list() ?? []).map(({ pid, parent, argv, memoryBytes, usedNs }) => ({
        pid,
        ppid: parent?.pid ?? 0,
        argv,
        memory: memoryBytes,
        cpuMs: usedNs / 1e6,
      })),
  };
}

function spawn(
  userland: ReturnType<typeof makeUserland>,
  path: string,
  args: readonly string[],
  { env = {}, cwd = '/', stdin = 'null', stdout = 'console', stderr = 'console' }: SpawnOptions,
): ChildProcess {
  const { processes, terminal } = userland;
  const input = stdin === 'pipe' ? new Pipe() : undefined;
  const output = (how: SpawnOptions['stdout']): Pipe | undefined => (how === 'pipe' ? new Pipe() : undefined);
  const [out, err] = [output(stdout), output(stderr)];
  const sink = (how: SpawnOptions['stdout'], pipe: Pipe | undefined): OpenFile =>
    pipe?.writer ?? (how === 'null' ? nullFile : terminal);
  let settle: (status: ExitStatus) => void = () => {};
  const ended = new Promise<ExitStatus>(resolve => {
    settle = resolve;
  });
  const ends = [input?.reader, out?.writer, err?.writer];
  try {
    const process = userland.spawn({
      argv: [path, ...args],
      env: new Map([['PATH', '/bin:/usr/bin'], ['PWD', absolutePath('/', cwd)], ...Object.entries(env)]),
      cwd: absolutePath('/', cwd),
      stdio: [input?.reader ?? nullFile, sink(stdout, out), sink(stderr, err)],
      onEnd: status => settle(status),
    });
    return {
      pid: process.pid,
      stdin: input && inputOf(input.writer),
      stdout: out && outputOf(out.reader),
      stderr: err && outputOf(err.reader),
      kill(word = 'SIGTERM') {
        const signal = signalNamed(word);
        if (!signal) throw new XenError('EINVAL', `${word}: no such signal`);
        processes.kill(process, signal);
      },
      async wait() {
        const status = await ended;
        return { code: exitNumber(status), ...(status.signal && { signal: status.signal }) };
      },
    };
  } finally {
    // The process has references of its own.
    for (const end of ends) end?.release();
  }
}

const changed = ({ queue }: OpenFile): Promise<void> =>
  new Promise(resolve => {
    queue?.add(resolve);
  });

function inputOf(file: OpenFile): ProcessInput {
  let open = true;
  return {
    async write(data) {
      const bytes = typeof data === 'string' ? encoder.encode(data) : data;
      for (let at = 0; at < bytes.length; ) {
        if (!open) throw new XenError('EBADF', 'the input was ended');
        const n = written(file, bytes.subarray(at));
        if (n instanceof Wait) await changed(file);
        else at += n;
      }
    },
    end() {
      if (open) file.release();
      open = false;
    },
  };
}
function written(file: OpenFile, bytes: Uint8Array): number | Wait {
  try {
    return file.write(bytes);
  } catch (error) {
    // What ends a process is a failure for a program that is none.
    if (error instanceof ProcessExit) throw new XenError('EPIPE', 'the process reads no more');
    throw error;
  }
}
function outputOf(file: OpenFile): ProcessOutput {
  const into = new Uint8Array(CHUNK);
  const read = async (): Promise<Uint8Array | null> => {
    for (;;) {
      const n = file.read(into);
      if (typeof n === 'number') return n === 0 ? null : into.slice(0, n);
      await changed(file);
    }
  };
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    for (let chunk = await read(); chunk !== null; chunk = await read()) yield chunk;
  };
  return {
    read,
    async text() {
      const all: Uint8Array[] = [];
      for await (const chunk of chunks()) all.push(chunk);
      return decoder.decode(Buffer.concat(all));
    },
    [Symbol.asyncIterator]: chunks,
  };
}
