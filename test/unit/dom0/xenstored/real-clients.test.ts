// The daemon as a process, by itself, and programs on it that others wrote: Debian's xenstore-* and Xen's own
// test-xenstore. Skipped where they are not installed (Debian: xenstore-utils, xen-utils-4.17).
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { socketTransport, XENSTORE_PAYLOAD_MAX, XenstoreClient, XS_READ, xenstoreFrame } from '#pvbus';

const MAIN = fileURLToPath(new URL('../../../../dom0/xenstored/main.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const TEST_XENSTORE = '/usr/lib/xen-4.17/bin/test-xenstore';
const TOOLS = ['ls', 'read', 'write', 'list', 'rm', 'exists', 'chmod', 'watch'].map(
  name => `/usr/bin/xenstore-${name}`,
);
const missing = [...TOOLS, TEST_XENSTORE].filter(path => !existsSync(path));
const withTools = describe.skipIf(missing.length > 0);
if (missing.length > 0) console.warn(`skipped: ${missing.join(', ')} not installed`);

const folder = mkdtempSync(join(tmpdir(), 'xs-'));
const path = join(folder, 'socket');
const env = { ...process.env, XENSTORED_PATH: path };
let daemon: ChildProcess;
let exited: Promise<unknown>;

beforeAll(async () => {
  daemon = spawn(process.execPath, ['--import', 'tsx', MAIN, '--socket', path], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  exited = once(daemon, 'exit');
  const said = once(daemon.stdout!, 'data');
  const [first] = (await Promise.race([said, exited])) as unknown[];
  if (String(first) !== 'listening\n') throw new Error(`xenstored did not start: ${first}`);
});
afterAll(async () => {
  daemon.kill('SIGKILL');
  await exited;
  rmSync(folder, { recursive: true, force: true });
});

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
function run(program: string, ...args: string[]): Promise<Result> {
  return new Promise(resolve => {
    execFile(program, args, { env, timeout: 50_000 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr });
    });
  });
}
const xenstore = (command: string, ...args: string[]): Promise<Result> => run(`/usr/bin/xenstore-${command}`, ...args);
const client = async (): Promise<XenstoreClient> => new XenstoreClient(await socketTransport(path));

withTools("Debian's tools", () => {
  test('write, read, list and remove', async () => {
    expect(await xenstore('write', '/vm/a/name', 'one two', '/vm/a/uuid', '77')).toMatchObject({ code: 0 });
    expect((await xenstore('read', '/vm/a/name')).stdout).toBe('one two\n');
    expect((await xenstore('list', '/vm/a')).stdout).toBe('name\nuuid\n');
    expect((await xenstore('list', '-p', '/vm')).stdout).toContain('/vm/a');
    expect((await xenstore('exists', '/vm/a/uuid')).code).toBe(0);
    expect((await xenstore('exists', '/vm/b')).code).toBe(1);
    expect((await xenstore('read', '/vm/b')).stderr).toContain("couldn't read path /vm/b");
    expect((await xenstore('rm', '/vm/a/uuid')).code).toBe(0);
    expect((await xenstore('list', '/vm/a')).stdout).toBe('name\n');
    expect((await xenstore('rm', '/vm')).code).toBe(0);
    expect((await xenstore('read', '/vm/a/name')).code).not.toBe(0);
  });

  test('show the whole tree with values and permissions', async () => {
    await xenstore('write', '/show/x', 'a \tabbed value', '/show/y/z', '');
    expect((await xenstore('chmod', '/show/x', 'n0', 'r3', 'b5')).code).toBe(0);
    expect((await xenstore('ls', '-f', '/show')).stdout.split('\n')).toEqual([
      '/show/x = "a \\tabbed value"',
      '/show/y = ""',
      '/show/y/z = ""',
      '',
    ]);
    expect((await xenstore('ls', '-f', '-p', '/show')).stdout).toMatch(/\/show\/x = .*\(n0,r3,b5\)/);
    expect((await xenstore('ls')).stdout).toMatch(/^tool = ""\n xenstored = ""$/m);
    await xenstore('rm', '/show');
  });

  test('show nodes whose listing does not fit one message', async () => {
    const xs = await client();
    const names = Array.from({ length: 3000 }, (_, i) => `n${i}`);
    await xs.transaction(tx => Promise.all(names.map(name => xs.write(`/many/${name}`, '', tx))));
    const listed = (await xenstore('list', '/many')).stdout.trim().split('\n');
    expect(listed.sort()).toEqual(names.sort());
    await xs.rm('/many');
    xs.close();
  });

  test('hear of changes', async () => {
    const xs = await client();
    const watching = run('/usr/bin/xenstore-watch', '-n', '4', '/seen');
    // It watches as soon as its first event shows; until then, writes go unheard.
    let done = false;
    watching.then(() => {
      done = true;
    });
    for (let i = 0; !done; i++) {
      await xs.write('/seen/it', String(i));
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    expect((await watching).stdout.trim().split('\n')).toEqual(['/seen', '/seen/it', '/seen/it', '/seen/it']);
    xs.close();
  });

  test("and Xen's test-xenstore pass", async () => {
    const result = await run(TEST_XENSTORE, '-i', '20');
    expect(result.code).toBe(0);
    // One line a test, with times; a failed one says so.
    expect(result.stdout).not.toMatch(/error|fail/i);
    expect(result.stdout.trim().split('\n')).toHaveLength(12);
    expect((await run(TEST_XENSTORE, '-r', '2')).code).toBe(0);
  });
});

describe('the daemon as a process', () => {
  test('lets only its user near its socket', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('serves eight clients that all change one node in transactions', async () => {
    const clients = await Promise.all(Array.from({ length: 8 }, client));
    await clients[0]!.write('/counter', '0');
    await Promise.all(
      clients.map(async xs => {
        for (let i = 0; i < 20; i++) {
          await xs.transaction(async tx => xs.write('/counter', String(Number(await xs.read('/counter', tx)) + 1), tx));
        }
      }),
    );
    expect(await clients[0]!.read('/counter')).toBe('160');
    for (const xs of clients) xs.close();
  });

  test('answers a client that sends ten thousand requests before it reads', async () => {
    const xs = await client();
    await xs.write('/big', 'x'.repeat(2000));
    const replies = await Promise.all(Array.from({ length: 10_000 }, () => xs.read('/big')));
    expect(replies.every(reply => reply.length === 2000)).toBe(true);
    xs.close();
  });

  test('cuts off a client that claims a payload too long, and no other', async () => {
    const xs = await client();
    const socket = connect(path);
    const closed = once(socket, 'close');
    const bytes = xenstoreFrame(XS_READ, 1, 0, new Uint8Array(XENSTORE_PAYLOAD_MAX + 1));
    socket.on('error', () => {});
    socket.write(bytes);
    await closed;
    expect(await xs.read('/tool')).toBe('');
    xs.close();
  });

  test('forgets a client that hangs up: watches, transactions, half a message', async () => {
    const xs = await client();
    for (let i = 0; i < 50; i++) {
      const other = await client();
      await other.watch('/gone', 't', () => {});
      void other.transaction(() => new Promise(() => {})).catch(() => {});
      other.close();
      const half = connect(path);
      await once(half, 'connect');
      half.write(xenstoreFrame(XS_READ, 1, 0, Buffer.from('/tool\0')).subarray(0, 18));
      half.destroy();
    }
    await xs.write('/gone/x', '');
    expect(await xs.control('check')).toBe('OK');
    xs.close();
  });
});
