// A domain that is measured: it takes commands on its console and answers each with a line of JSON.
import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { runPaths } from '#pvbus';
import type { HostRig } from '../support/host-rig.ts';
import { eventually, processOfDomain } from '../support/processes.ts';

export type Answer = Record<string, number>;

export class BenchDomain {
  readonly name: string;
  readonly domid: number;
  /** Its process, by the host's number: to itself it is 1. */
  readonly pid: number;
  private readonly socket: Socket;
  private readonly lines: AsyncIterator<Answer>;

  private constructor(name: string, socket: Socket, domid: number, pid: number, lines: AsyncIterator<Answer>) {
    this.name = name;
    this.socket = socket;
    this.domid = domid;
    this.pid = pid;
    this.lines = lines;
  }
  /** Create it by `xl create`; `config` is more xl.cfg. */
  static async create(rig: HostRig, folder: string, name: string, config: string): Promise<BenchDomain> {
    const file = join(folder, `${name}.cfg`);
    writeFileSync(file, `name = "${name}"\nmemory = 64\n${config}\n`);
    const created = await rig.xl('create', '-q', file);
    if (created.exitCode !== 0) throw new Error(`xl create ${name}: ${created.stderr}\n${rig.logToQuote()}`);
    const domid = Number((await rig.xl('domid', name)).stdout);
    const path = runPaths(rig.runDir).consoleSocket(domid);
    const socket = await eventually(`the console of ${name}`, () => open(path));
    const lines = answers(socket);
    await lines.next(); // it is ready
    return new BenchDomain(name, socket, domid, processOfDomain(domid, rig.processes()), lines);
  }
  /** Have it do `command`, and wait for what it says. */
  async run(...command: (string | number)[]): Promise<Answer> {
    this.start(...command);
    return this.finish();
  }
  start(...command: (string | number)[]): void {
    this.socket.write(`${command.join(' ')}\n`);
  }
  async finish(): Promise<Answer> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`${this.name} ended`);
    return value;
  }
  close(): void {
    this.socket.destroy();
  }
}

function open(path: string): Promise<Socket | undefined> {
  return new Promise(resolve => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}
/** The lines that are JSON; kernels may print others. */
async function* answers(socket: Socket): AsyncGenerator<Answer> {
  let text = '';
  for await (const chunk of socket) {
    text += String(chunk);
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end).trim();
      text = text.slice(end + 1);
      if (line.startsWith('{')) yield JSON.parse(line) as Answer;
    }
  }
}
