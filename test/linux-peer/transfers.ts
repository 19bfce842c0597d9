// Transfers between our stack and Linux's, opened by either, while a twentieth of all frames is lost, doubled or late.
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { NetConnection, NetListener } from '../../domu-kernel/guest-api/tcp.ts';
import { IpAddress } from '../../domu-kernel/net/ip-address.ts';
import { eventually } from '../support/processes.ts';
import type { Stack } from '../support/stack.ts';
import type { TapLink } from '../support/tap.ts';
import { fillStream } from '../support/tcp-stream.ts';

export const FAULTS = { loss: 0.05, duplicate: 0.05, reorder: 0.05, delayNs: 0, lateNs: 5e6 };
const PORT = 9001;

/** Linux's stack in a namespace, and ours. */
export interface TwoStacks {
  readonly net: Stack;
  readonly linux: string;
  readonly ours: string;
  /** The command line that runs a program where Linux's is. */
  inside(...command: string[]): [string, string[]];
}
/** Our address of the prefix that a router's word from inside the namespace gives; undefined where Linux has no IPv6. */
export async function ip6Address(tap: TapLink): Promise<string | undefined> {
  if (!tap.hasIp6) return undefined;
  const script = fileURLToPath(new URL('router-advertisement.py', import.meta.url));
  const [command, args] = tap.inside('python3', script, tap.interface, 'fd98::', 'fd98::53', '1400');
  // Linux's own address of the link has to be unique first, so it may take more than one.
  return eventually('an address of the prefix', async () => {
    await promisify(execFile)(command, args).catch(() => undefined);
    const { address } = tap.net.ip6;
    return address !== undefined && !address.isLinkLocal ? String(address) : undefined;
  });
}

export class LinuxPeer {
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly lines: AsyncIterator<string>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.child = child;
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }
  static async start(tap: TwoStacks): Promise<LinuxPeer> {
    const script = fileURLToPath(new URL('peer.ts', import.meta.url));
    const [command, args] = tap.inside(process.execPath, '--import', import.meta.resolve('tsx'), script);
    const peer = new LinuxPeer(spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
    await peer.line();
    return peer;
  }
  async line(): Promise<string> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error("Linux's end is gone");
    return value;
  }
  tell(line: string): void {
    this.child.stdin.write(`${line}\n`);
  }
  async stop(): Promise<void> {
    const gone = new Promise(resolve => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }
}

async function exchange(
  connection: NetConnection,
  rest: Uint8Array,
  out: number,
  mine: number,
  want: number,
  theirs: number,
): Promise<void> {
  const sending = (async () => {
    for (let sent = 0; sent < out; ) {
      const part = new Uint8Array(Math.min(8192, out - sent));
      fillStream(part, mine, sent);
      sent += part.length;
      await connection.write(part);
    }
    await connection.end();
  })();
  let got = 0;
  for (let part: Uint8Array | null = rest; part !== null; part = await connection.read()) {
    const expected = new Uint8Array(part.length);
    fillStream(expected, theirs, got);
    if (Buffer.compare(part, expected) !== 0) throw new Error(`wrong bytes within ${part.length} from ${got} on`);
    got += part.length;
  }
  await sending;
  if (got !== want) throw new Error(`${got} bytes of ${want}`);
  await connection.close();
}

/** What went wrong, one line each; half of them are opened by Linux. */
export async function transfers(
  tap: TwoStacks,
  peer: LinuxPeer,
  count: number,
  random: () => number,
  atOnce = 10,
  /** Linux's address, and ours: one pair, or in turn the next. */
  addresses: readonly (readonly [linux: string, ours: string])[] = [[tap.linux, tap.ours]],
): Promise<string[]> {
  const { tcp } = tap.net;
  const wrong: string[] = [];
  const listener = new NetListener(tcp.listen(PORT, { backlog: 100 }));
  const size = (): number => Math.floor(random() ** 2 * 200_000);
  const told = (work: Promise<void>): Promise<void> =>
    work.catch(error => {
      wrong.push(`ours: ${error.message}`);
    });
  const served: Promise<void>[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      const serve = async (): Promise<void> => {
        let head = Buffer.alloc(0);
        while (!head.includes(10)) head = Buffer.concat([head, (await connection.read()) ?? Buffer.of(10)]);
        const end = head.indexOf(10);
        const [there, back, seed] = head.subarray(0, end).toString().split(' ').map(Number) as [number, number, number];
        await exchange(connection, head.subarray(end + 1), back, seed + 1, there, seed);
      };
      served.push(told(serve()));
    }
  })();
  const open = async (seed: number, linux: string): Promise<void> => {
    const [there, back] = [size(), size()];
    const connection = await NetConnection.open(tcp.connect(IpAddress.from(linux), 9000));
    await connection.write(`${there} ${back} ${seed}\n`);
    await exchange(connection, new Uint8Array(0), there, seed, back, seed + 1);
  };
  let started = 0;
  const worker = async (): Promise<void> => {
    while (started < count) {
      const seed = started++ * 2;
      const [linux, ours] = addresses[Math.floor(seed / 4) % addresses.length]!;
      if (seed % 4 === 0) await told(open(seed, linux));
      else peer.tell(`connect ${ours} ${PORT} ${size()} ${size()} ${seed}`);
      const line = await peer.line();
      if (line !== 'ok') wrong.push(`Linux's: ${line}`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker));
  await listener.close();
  await serving;
  await Promise.all(served);
  return wrong;
}
