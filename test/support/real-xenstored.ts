// Debian's own two xenstore daemons as processes, on a machine without Xen: test/conformance/fake-hypervisor.c
// is preloaded into them for what they ask of a hypervisor. Requests do not touch it; they run at full speed.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { XS_GET_DOMAIN_PATH, xenstoreFrame } from '#pvbus';
import { compile, whyNoCompiler } from '../../tools/layouts/ask-gcc.ts';
import { preloaded } from './preloaded.ts';
import { eventually } from './processes.ts';

/** Xen's daemon in C, or the one in OCaml. */
export type Which = 'c' | 'ocaml';

export interface RealXenstored {
  /** Its unix socket: what a client takes from XENSTORED_PATH. */
  readonly socket: string;
  readonly pid: number;
  /** What the fake hypervisor serves: see fake-hypervisor.c. */
  readonly folder: string;
  /** What it has printed. */
  said(): string;
  /** False once it has ended, by itself or not. */
  alive(): boolean;
  stop(): Promise<void>;
}

const PROGRAMS: Readonly<Record<Which, string>> = {
  c: '/usr/lib/xen-4.17/bin/xenstored',
  ocaml: '/usr/lib/xen-4.17/bin/oxenstored',
};
const SOURCE = fileURLToPath(new URL('../conformance/fake-hypervisor.c', import.meta.url));
const PAGE = 4096;

/** Why `which` cannot run here; undefined when it can. */
export function whyNot(which: Which): string | undefined {
  if (!existsSync(PROGRAMS[which])) return `no ${PROGRAMS[which]} (Debian: xen-utils-4.17)`;
  if (!existsSync('/usr/include/xenctrl.h')) return 'no /usr/include/xenctrl.h (Debian: libxen-dev)';
  return whyNoCompiler();
}

/** The fake, compiled once for each state of its source. */
function fakeHypervisor(): string {
  const folder = fileURLToPath(new URL('../../node_modules/.cache/xenolith/', import.meta.url));
  const version = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 16);
  const library = join(folder, `fake-hypervisor-${version}.so`);
  if (existsSync(library)) return library;
  mkdirSync(folder, { recursive: true });
  const unfinished = `${library}.${process.pid}`; // others may be at it as well
  compile(SOURCE, unfinished, '-shared', '-fPIC');
  renameSync(unfinished, library);
  return library;
}

/** Start one, with an empty store. Throws when `whyNot` says that it cannot be. */
export async function start(which: Which): Promise<RealXenstored> {
  const reason = whyNot(which);
  if (reason !== undefined) throw new Error(reason);
  const library = fakeHypervisor();
  const folder = mkdtempSync(join(tmpdir(), `xenstored-${which}-`));
  const at = (name: string): string => join(folder, name);
  writeFileSync(at('dom0'), new Uint8Array(2 * PAGE));
  for (const name of ['xsd_kva', 'handled']) writeFileSync(at(name), new Uint8Array(PAGE));
  writeFileSync(at('xsd_port'), '1'); // without a newline: oxenstored takes the whole for a number
  const config = {
    'pid-file': 'pid',
    'xenstored-log-file': 'log',
    'xenstored-kva': 'xsd_kva',
    'xenstored-port': 'xsd_port',
  };
  writeFileSync(
    at('config'),
    Object.entries(config)
      .map(([key, name]) => `${key} = ${at(name)}\n`)
      .join(''),
  );
  const args = which === 'c' ? ['--no-fork'] : ['--no-fork', '--no-access-log', `--config-file=${at('config')}`];
  const env = { PATH: process.env.PATH, ...preloaded(library), FAKE_XEN_DIR: folder, XENSTORED_RUNDIR: folder };
  const child = spawn(PROGRAMS[which], args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (said += chunk));
  const ended = once(child, 'exit');
  const alive = (): boolean => child.exitCode === null && child.signalCode === null;
  const stop = async (): Promise<void> => {
    if (alive()) child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await eventually(`${which}'s xenstored serves`, () => serves(child, at('socket')));
  } catch (error) {
    await stop();
    throw new Error(`${(error as Error).message}\n${said}`);
  }
  return { socket: at('socket'), pid: child.pid!, folder, said: () => said, alive, stop };
}

/** Whether it answers: a connection alone may be waiting for a daemon that is not ready. */
async function serves(child: ChildProcess, path: string): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null) throw new Error('it ended');
  const socket = connect(path);
  try {
    socket.write(xenstoreFrame(XS_GET_DOMAIN_PATH, 1, 0, Buffer.from('0\0')));
    await once(socket, 'data');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
