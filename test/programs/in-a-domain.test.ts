// Programs in domains of their own by `xl run`: their arguments, streams, sockets, descriptors and ends.
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HostRig } from '../support/host-rig.ts';
import { dist } from '../support/host-view.ts';
import { eventually, processOfDomain } from '../support/processes.ts';
import { netcat } from '../support/programs/netcat.ts';
import { orSkip } from '../support/programs/unavailable.ts';
import { PROGRAM_CACHE, XlRun, xlRun } from '../support/programs/xl-run.ts';
import { compileWasi } from '../support/wasi-cc.ts';

const BUILD_MS = 240_000;
const BUILT = { timeout: BUILD_MS };
const echo = () => compileWasi(fileURLToPath(new URL('../support/programs/c/echo.c', import.meta.url)));
const tcp = () => compileWasi(fileURLToPath(new URL('../support/programs/c/tcp.c', import.meta.url)));
const given = () => compileWasi(fileURLToPath(new URL('../support/programs/c/given.c', import.meta.url)));

/** Of the host. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
/** What is answered to `text`; undefined: nobody answers yet. */
async function saidTo(port: number, text: string): Promise<string | undefined> {
  const socket = connect(port, '127.0.0.1');
  try {
    socket.end(text);
    return (await readText(socket)) || undefined;
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

let dir: string;
let host: HostRig;
beforeAll(async () => {
  process.env.XDG_CACHE_HOME = PROGRAM_CACHE;
  dir = mkdtempSync(join(tmpdir(), 'xenolith-programs-in-'));
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});
const run = (args: readonly string[], stdin = '') => xlRun(host.runDir, args, stdin);

test("arguments, environment and streams are the program's own, byte for byte", BUILT, async context => {
  const program = await orSkip(context, echo);
  const bytes = randomBytes(1_000_000);
  const done = await new XlRun(host.runDir, ['-e', 'A=b c', '--name=told', program, '', 'two words', '-v'], bytes)
    .ended;
  const front = `${program.replace(/.*\/|\.wasm$/g, '')}\n\ntwo words\n-v\nA=b c\n`;
  expect(done.stdout.subarray(0, front.length).toString()).toBe(front);
  expect(done.stdout.subarray(front.length).equals(bytes)).toBe(true);
  expect(done).toMatchObject({ stderr: '1000000 bytes\n', code: 7 });
  const { stdout: events } = await host.xl('events');
  expect(events).toMatch(/ told \(\d+\) shutdown: poweroff, exit code 7\n/);
});

test(
  'a program that writes what nobody reads any more is ended, as by SIGPIPE, and its domain is gone',
  BUILT,
  async context => {
    const program = await orSkip(context, echo);
    const input = join(dir, 'much');
    writeFileSync(input, '');
    truncateSync(input, 16 << 20);
    const script = '"$0" "$1" run --name=unread "$2" < "$3" | head -c 1 > /dev/null; echo $PIPESTATUS';
    const env = { ...process.env, XDG_CACHE_HOME: PROGRAM_CACHE, XENOLITH_RUN_DIR: host.runDir };
    const { stdout, stderr } = await promisify(execFile)(
      'bash',
      ['-c', script, process.execPath, dist('xl.js'), program, input],
      { env },
    );
    expect([stdout, stderr]).toEqual(['141\n', '']);
    await eventually('its domain is gone', async () => !(await host.xl('list')).stdout.includes('unread'));
  },
);

test(
  'a program whose output cannot be written has failed, which is said, and its domain is gone',
  BUILT,
  async context => {
    const program = await orSkip(context, echo);
    const env = { ...process.env, XDG_CACHE_HOME: PROGRAM_CACHE, XENOLITH_RUN_DIR: host.runDir };
    // It has ended by itself when that is known, or not.
    for (const bytes of ['0', '10000000']) {
      const script = 'head -c "$3" /dev/zero | "$0" "$1" run --name=unwritten "$2" > /dev/full; echo $?';
      const args = ['-c', script, process.execPath, dist('xl.js'), program, bytes];
      const { stdout, stderr } = await promisify(execFile)('bash', args, { env });
      expect(stdout).toBe('125\n');
      expect(stderr.split('\n')[0]).toBe('xl: write error: ENOSPC: no space left on device, write');
      await eventually('its domain is gone', async () => !(await host.xl('list')).stdout.includes('unwritten'));
    }
  },
);

test('an archive is a root file system with a shell, and programs beside one another', BUILT, async context => {
  const program = await orSkip(context, echo);
  const tree = join(dir, 'tree');
  execFileSync('sh', [
    '-c',
    `mkdir -p ${tree}/bin && cp ${program} ${tree}/bin/echoes && tar -C ${tree} -czf ${dir}/root.tgz .`,
  ]);
  const script = 'mkdir /tmp; echo one | echoes two; echoes < /dev/null > /tmp/x; echo $?; cat /tmp/x';
  const done = await run([join(dir, 'root.tgz'), 'sh', '-c', script]);
  const [first, second] = ['echoes\ntwo\nA=(null)\none\n', 'echoes\nA=(null)\n'];
  expect(done).toEqual({ stdout: `${first}7\n${second}`, stderr: '4 bytes\n0 bytes\n', code: 0 });
});

test('programs of a domain without an interface talk to one another by its loopback', BUILT, async context => {
  const program = await orSkip(context, tcp);
  const tree = join(dir, 'talking');
  execFileSync('sh', [
    '-c',
    `mkdir -p ${tree}/bin && cp ${program} ${tree}/bin/tcp && tar -C ${tree} -cf ${tree}.tar .`,
  ]);
  const places = ['127.0.0.1', '::1', '0.0.0.0'];
  const script = places.map(
    (at, i) => `tcp listen ${at} 900${i} & tcp connect ${at.replace(/^0.*/, '127.0.0.1')} 900${i} to:${at}; wait`,
  );
  const done = await run([`${tree}.tar`, 'sh', '-c', script.join('\n')]);
  expect(done).toEqual({ stdout: places.map(at => `to:${at}\n`).join(''), stderr: '', code: 0 });
});

test('a program that makes no sockets itself accepts on the descriptor it was given', BUILT, async context => {
  const [server, looks] = [await orSkip(context, tcp), await orSkip(context, given)];
  const port = await freePort();
  const running = new XlRun(host.runDir, ['-p', `${port}:fd`, server, 'accept', '3']);
  const answer = eventually('it answers', () => saidTo(port, 'hello'));
  expect(await Promise.all([answer, running.ended])).toMatchObject(['hello', { code: 0, stderr: '' }]);
  // Its directories come after that, and libc finds them.
  const { stdout } = await run(['-p', `${port}:fd`, '-v', `${dir}:/srv`, looks, '/srv', '.']);
  expect(stdout.split('\n').filter(line => !line.startsWith('env'))).toEqual([
    '4 /',
    '5 .',
    '/srv: there',
    '.: there',
    '',
  ]);
});

test("netcat, as Debian has its source, answers Linux's curl on a port of the host", BUILT, async context => {
  const program = await orSkip(context, netcat);
  const port = await freePort();
  const running = new XlRun(
    host.runDir,
    ['-p', `${port}:${port}`, program, '-v', '-n', '-l', '-p', String(port)],
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  );
  const curl = () => promisify(execFile)('curl', ['-sS', '--no-keepalive', '-A', 'x', `http://127.0.0.1:${port}/path`]);
  const answer = eventually('it answers', () =>
    curl().then(
      ({ stdout }) => stdout,
      () => undefined,
    ),
  );
  const [said, { stdout, stderr, code }] = await Promise.all([answer, running.ended]);
  expect([said, stdout.toString()]).toEqual([
    'hello',
    `GET /path HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n`,
  ]);
  const host4 = '192[.]0[.]0[.]8';
  expect(stderr).toMatch(
    new RegExp(`^listening on \\[any\\] ${port} [.]{3}\nconnect to \\[${host4}\\] from .* \\[${host4}\\] 0\n$`),
  );
  expect(code).toBe(0);
});

test('what there is no program for exits with 127, what is none with 126, as docker does', async () => {
  writeFileSync(join(dir, 'none.wasm'), 'x');
  expect(await run([join(dir, 'missing.wasm')])).toMatchObject({
    code: 127,
    stderr: expect.stringContaining('does not exist'),
  });
  expect(await run([join(dir, 'none.wasm')])).toMatchObject({ code: 126 });
  expect(await run(['--disk', '/nonexistent.img', join(dir, 'none.wasm')])).toMatchObject({ code: 125 });
});

test(
  '^C is SIGINT for the program, SIGTERM ends the domain, and so does the end of xl by SIGKILL',
  BUILT,
  async context => {
    const program = await orSkip(context, echo);
    const started = async (name: string): Promise<XlRun> => {
      const running = new XlRun(host.runDir, ['--name', name, program], null);
      await eventually('it runs', () => running.stdout.includes('A='));
      return running;
    };
    const gone = (name: string) =>
      eventually(`${name} is gone`, async () => (await host.domains()).every(domain => domain.name !== name));
    const interrupted = await started('interrupted');
    interrupted.kill('SIGINT');
    expect(await interrupted.ended).toMatchObject({ code: 130 });
    await gone('interrupted');
    const terminated = await started('terminated');
    terminated.kill('SIGTERM');
    expect(await terminated.ended).toMatchObject({ code: 143 });
    await gone('terminated');
    const killed = await started('killed');
    killed.kill('SIGKILL');
    expect(await killed.ended).toMatchObject({ signal: 'SIGKILL' });
    await gone('killed');
  },
);

test('of a domain that has crashed xl says why', BUILT, async context => {
  const program = await orSkip(context, echo);
  const running = new XlRun(host.runDir, ['--name=crashing', program], null);
  await eventually('it runs', () => running.stdout.includes('A='));
  const domid = Number((await host.xl('domid', 'crashing')).stdout);
  process.kill(processOfDomain(domid, host.processes()), 'SIGKILL');
  const stderr = "xl run: 'crashing' crashed: its process ended: killed by SIGKILL\n";
  expect(await running.ended).toMatchObject({ code: 125, stderr });
});

test('without a host one runs for the program alone, and nothing is left of it', BUILT, async context => {
  const program = await orSkip(context, echo);
  const own = join(dir, 'tmp');
  execFileSync('mkdir', [own]);
  const before = process.env.TMPDIR;
  process.env.TMPDIR = own;
  try {
    expect(await xlRun(join(dir, 'no-host'), [program], 'x')).toMatchObject({ code: 7, stderr: '1 bytes\n' });
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
  expect(readdirSync(own)).toEqual([]);
  expect(existsSync(join(dir, 'no-host'))).toBe(false);
});
