// Run by silent-host.test.ts in a network namespace, with a folder: an NbdSession here, nbdkit in another one behind a veth pair.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Log, NBD_CMD_WRITE, parseNbdTarget, systemClock } from '#pvbus';
import { connectWithin } from '../../../../../dom0/backends/nbd/host-stream.ts';
import { NbdSession } from '../../../../../dom0/backends/nbd/session.ts';
import { SpareChunks } from '../../../../../dom0/backends/nbd/unflushed.ts';
import { eventually } from '../../../../support/processes.ts';

const SIZE = 16 << 20;
const BLOCK = 256 << 10;
const LIMITS = { idleMs: 1000, silentMs: 2000 };
const HERE = '10.99.0.1';
const THERE = '10.99.0.2';

const ip = (...args: string[]): void => void execFileSync('ip', args);
const image = join(process.argv[2]!, 'disk.img');
writeFileSync(image, Buffer.alloc(SIZE));
ip('link', 'set', 'lo', 'up');
ip('link', 'add', 'va', 'type', 'veth', 'peer', 'name', 'vb');
const other = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'unshare', '-n', 'sleep', '600'], { stdio: 'ignore' });
await eventually('the other namespace', () => isApart(other.pid!));
const there = (...args: string[]): void => void execFileSync('nsenter', ['-t', String(other.pid), '-n', ...args]);
ip('link', 'set', 'vb', 'netns', String(other.pid));
ip('addr', 'add', `${HERE}/24`, 'dev', 'va');
ip('link', 'set', 'va', 'up');
there('ip', 'link', 'set', 'vb', 'up');
const address = (act: 'add' | 'del'): void => there('ip', 'addr', act, `${THERE}/24`, 'dev', 'vb');
address('add');
// Nothing on the way says that it is gone.
ip('neigh', 'replace', THERE, 'lladdr', macOf(), 'dev', 'va', 'nud', 'permanent');
const server = spawn(
  'nsenter',
  ['-t', String(other.pid), '-n', 'nbdkit', '-f', '--exit-with-parent', '-i', THERE, '-p', '10809', 'file', image],
  { stdio: 'ignore' },
);

const lost: string[] = [];
let away = false;
let isOpen = false;
const session = new NbdSession({
  target: parseNbdTarget(`nbd:${THERE}:10809`),
  ...{ label: 'disk', connect: connectWithin(LIMITS), clock: systemClock, spare: new SpareChunks(), openMs: 60_000 },
  log: {
    info: () => {},
    warn: line => lost.push(line.replace('disk: the server is ', '')),
    error: line => console.log(line),
  } as Log,
  wake: () => {},
  onOpen: result => {
    if (result instanceof Error) throw result;
    isOpen = true;
  },
  onAway: now => {
    away = now;
  },
  onGrown: () => {},
  onRoom: () => {},
  onBroken: error => console.log(error.message),
});
const ticks = setInterval(() => session.tick(), 10);
const write = (value: number): Promise<number>[] =>
  Array.from(
    { length: SIZE / BLOCK },
    (_, n) =>
      new Promise(resolve => {
        const command = session.acquire(NBD_CMD_WRITE, n * BLOCK, BLOCK, { answered: (_, error) => resolve(error) });
        command.addPiece(new Uint8Array(BLOCK).fill(value), 0, BLOCK);
        session.send(command);
      }),
  );
const isAll = async (value: number, writes: Promise<number>[]): Promise<boolean> =>
  (await Promise.all(writes)).every(error => error === 0) && readFileSync(image).every(byte => byte === value);
/** Closed here, and not done with yet: what it has is sent again and again. */
const lingers = (): boolean => /:2A39 04 /.test(readFileSync('/proc/self/net/tcp', 'latin1'));

try {
  await eventually('the server is there', () => isOpen);
  address('del');
  await eventually('its host is missed', () => lost.length > 0);
  console.log(`idle: ${lost[0]}`);
  address('add');
  await eventually('it is back', () => !away);
  console.log('idle: back');

  lost.length = 0;
  address('del');
  const writes = write(1);
  await eventually('its host is missed', () => lost.length > 0);
  console.log(`writing: ${lost[0]}`);
  const late = lingers();
  address('add');
  console.log(
    `writing: ${late ? 'some' : 'nothing'} of it may arrive later, all of it in the end: ${await isAll(1, writes)}`,
  );

  lost.length = 0;
  server.kill('SIGSTOP');
  const more = write(2);
  await new Promise(resolve => setTimeout(resolve, 4 * LIMITS.silentMs));
  server.kill('SIGCONT');
  console.log(`standing still: ${lost[0] ?? 'kept'}, all of it in the end: ${await isAll(2, more)}`);
} finally {
  clearInterval(ticks);
  session.close();
  server.kill('SIGKILL');
  other.kill('SIGKILL');
}

function isApart(pid: number): boolean {
  const net = (of: string): string => readlinkSync(`/proc/${of}/ns/net`);
  return net(String(pid)) !== net('self');
}
function macOf(): string {
  const link = execFileSync('nsenter', ['-t', String(other.pid), '-n', 'ip', '-j', 'link', 'show', 'vb'], {
    encoding: 'utf8',
  });
  return JSON.parse(link)[0].address as string;
}
