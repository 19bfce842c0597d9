// xl store against the real daemon, a process of its own.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { XenstoreClient } from '#pvbus';
import { WatchedEvents } from '../../../../tools/store/watched-events.ts';
import { LoneXenstored } from '../../../support/lone-xenstored.ts';
import { eventually } from '../../../support/processes.ts';
import { type XlCall, type XlRun, xl } from '../../../support/xl.ts';

let xenstored: LoneXenstored;
let xs: XenstoreClient;
beforeAll(async () => {
  xenstored = await LoneXenstored.start();
  xs = await xenstored.client();
});
afterAll(() => xenstored.stop());
afterEach(async () => {
  for (const name of await xs.directory('/')) if (name !== 'tool') await xs.rm(`/${name}`);
});

const store = (args: string[], call: XlCall = {}): Promise<XlRun> =>
  xl(['store', ...args], { ...call, env: { XENSTORED_PATH: xenstored.socket, ...call.env } });
const fails = (stderr: string): XlRun => ({ code: 1, stdout: '', stderr: `xl store: ${stderr}\n` });
const done: XlRun = { code: 0, stdout: '', stderr: '' };
const write = (nodes: Record<string, string | Uint8Array>): Promise<unknown> =>
  xs.transaction(tx => Promise.all(Object.entries(nodes).map(([path, value]) => xs.write(path, value, tx))));

describe('xl store ls', () => {
  it('prints a tree, paths, permissions', async () => {
    await write({ '/a/b': 'x\ty', '/a/b/c': '', '/d': Uint8Array.of(0, 0xff) });
    await xs.setPerms('/a/b', ['n0', 'r3']);
    expect(await store(['ls'])).toEqual({
      ...{ code: 0, stderr: '' },
      stdout: 'a = ""\n b = "x\\ty"\n  c = ""\nd = "\\000\\xff"\ntool = ""\n xenstored = ""\n',
    });
    expect((await store(['ls', '-fp', '/a'])).stdout).toBe('/a/b = "x\\ty"   (n0,r3)\n/a/b/c = ""   (n0)\n');
    expect((await store(['ls', '--full', '--perms', '/a'])).stdout).toBe((await store(['ls', '-fp', '/a'])).stdout);
    expect((await store(['ls', '/a/b/c'])).stdout).toBe('');
  });

  it("takes relative paths for domain 0's, and several of them", async () => {
    await write({ '/local/domain/0/device/x': '1', '/a/y': '2' });
    expect((await store(['ls', '-f', 'device', '/a'])).stdout).toBe('device/x = "1"\n/a/y = "2"\n');
  });

  it('prints one JSON document, base64 for what is not UTF-8', async () => {
    await write({ '/a/b': 'größe \0 "', '/a/c': Uint8Array.of(0xc3) });
    expect(JSON.parse((await store(['ls', '--json', '/a'])).stdout)).toEqual([
      { path: '/a/b', value: 'größe \0 "' },
      { path: '/a/c', base64: 'ww==' },
    ]);
    const withPerms = await store(['ls', '--json', '-p', '/a'], { columns: 80 });
    expect(JSON.parse(withPerms.stdout)[1]).toEqual({ path: '/a/c', base64: 'ww==', perms: ['n0'] });
    expect((await store(['ls', '--json', '/a/b'])).stdout).toBe('[]\n');
  });

  it('lists a directory that does not fit a message, and directories a thousand levels deep', async () => {
    const names = Array.from({ length: 5000 }, (_, i) => `/wide/node-${i}`).sort();
    await write(Object.fromEntries(names.map(name => [name, ''])));
    const deep = `/deep${'/d'.repeat(1000)}`;
    await xs.write(deep, 'bottom');
    expect((await store(['ls', '-f', '/wide'])).stdout).toBe(names.map(name => `${name} = ""\n`).join(''));
    const lines = (await store(['ls', '/deep'])).stdout.split('\n');
    expect(lines[999]).toBe(`${' '.repeat(999)}d = "bottom"`);
  });

  it('shows one moment of a store that changes all the time', async () => {
    const names = Array.from({ length: 300 }, (_, i) => `/same/n${i}`);
    const writer = await xenstored.client();
    let stop = false;
    const writing = (async () => {
      for (let round = 0; !stop; round++) {
        await writer.transaction(async tx => {
          await writer.rm('/same', tx);
          const some = names.filter((_, i) => (i + round) % 3 !== 0);
          await Promise.all(some.map(name => writer.write(name, `${round}`, tx)));
        });
      }
    })();
    const rounds = new Set<string>();
    await eventually('listings of several moments', async () => {
      const { stdout } = await store(['ls', '-f', '/same']);
      const lines = stdout.split('\n').slice(0, -1);
      const values = new Set(lines.map(line => line.replace(/^.* = /, '')));
      if (lines.length > 0) {
        expect([...values]).toHaveLength(1);
        expect(lines).toHaveLength(200);
        rounds.add([...values][0]!);
      }
      return rounds.size >= 5;
    });
    stop = true;
    await writing;
  });

  it('is coloured on a terminal only, and not where NO_COLOR says so', async () => {
    await write({ '/local/domain/7/name': 'web', '/libxl/7/type': 'pv', '/local/domain/0/backend/vbd/7': 'x' });
    const terminal = { columns: 80 };
    const coloured = (await store(['ls', '-f'], terminal)).stdout;
    for (const path of ['/local/domain/7', '/libxl/7', '/local/domain/0/backend/vbd/7']) {
      expect(coloured.split('\n').find(line => line.includes(`m${path}\x1b`))).toContain('  # web\x1b');
    }
    const plain = (await store(['ls', '-f'])).stdout;
    expect(plain).toMatch(/^[ -~\n]*$/);
    expect(plain).not.toContain('#');
    expect((await store(['ls', '-f'], { ...terminal, env: { NO_COLOR: '1' } })).stdout).toBe(plain);
    expect((await store(['ls', '--json'], terminal)).stdout).toBe((await store(['ls', '--json'])).stdout);
  });
});

describe('xl store read', () => {
  it('prints the bytes of a value and nothing else, of several each with a newline', async () => {
    await write({ '/a': 'one\ttwo', '/b': '' });
    expect(await store(['read', '/a'])).toEqual({ ...done, stdout: 'one\ttwo' });
    expect(await store(['read', '/a', '/b', '/a'])).toEqual({ ...done, stdout: 'one\ttwo\n\none\ttwo\n' });
  });

  it('escapes them on a terminal', async () => {
    await write({ '/a': '\x1b[31mred', '/b': '' });
    expect((await store(['read', '/a', '/b'], { columns: 80 })).stdout).toBe('\\x1b[31mred\n\n');
  });

  it('prints JSON', async () => {
    await write({ '/a': 'x', '/b': Uint8Array.of(0xff) });
    expect((await store(['read', '--json', '/a', '/b'])).stdout).toBe(
      '[\n{"path":"/a","value":"x"},\n{"path":"/b","base64":"/w=="}\n]\n',
    );
  });

  it('prints nothing when one of the nodes is not there', async () => {
    await write({ '/a': 'x' });
    expect(await store(['read', '/a', '/nope/b'])).toEqual(fails('/nope/b: there is no such node'));
  });
});

describe('xl store write', () => {
  it('makes what is missing of a path, takes escapes or, with -R, what it is given', async () => {
    expect(await store(['write', '/a/b/c', 'x\\ty\\xff\\\\', '/d', '-5'])).toEqual(done);
    expect(Buffer.from(await xs.readBytes('/a/b/c'))).toEqual(Buffer.from('x\ty\xff\\', 'latin1'));
    expect(await xs.read('/d')).toBe('-5');
    expect(await store(['write', '-R', '/d', 'C:\\path\\t'])).toEqual(done);
    expect(await xs.read('/d')).toBe('C:\\path\\t');
  });

  it('does all or nothing', async () => {
    expect(await store(['write', '/a', '1', '/b ad', '2', '/c', '3'])).toEqual(fails('/b ad: not a xenstore path'));
    expect(await store(['write', '/a', '1', '/c', 'x'.repeat(4096)])).toEqual(
      fails('/c: longer than the 4096 bytes of a message'),
    );
    expect(await store(['write', '/a', '1', '/c', '\\q'])).toEqual(
      fails('\\q is no escape (-R takes a value as it is)'),
    );
    expect(await xs.exists('/a')).toBe(false);
  });
});

describe('xl store rm', () => {
  it('removes nodes with what is below them, all or none', async () => {
    await write({ '/a/b': '', '/c': '' });
    expect(await store(['rm', '/c', '/nope/x', '/a'])).toEqual(fails('/nope/x: there is no such node'));
    expect(await xs.exists('/c')).toBe(true);
    expect(await store(['rm', '/c', '/a', '/never-there'])).toEqual(done);
    expect(await xs.directory('/')).toEqual(['tool']);
  });
});

describe('xl store chmod', () => {
  it('sets the permissions of a node, with -r of all below it', async () => {
    await write({ '/a/b/c': '', '/a/d': '' });
    expect(await store(['chmod', '/a', 'n0', 'r3', 'b65535'])).toEqual(done);
    expect(await xs.getPerms('/a')).toEqual(['n0', 'r3', 'b65535']);
    expect(await xs.getPerms('/a/b')).toEqual(['n0']);
    expect(await store(['chmod', '-r', '/a', 'w7'])).toEqual(done);
    for (const path of ['/a', '/a/b', '/a/b/c', '/a/d']) expect(await xs.getPerms(path)).toEqual(['w7']);
  });

  it('reaches nodes that are made while it works', async () => {
    await write(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`/a/n${i}/x`, ''])));
    const maker = await xenstored.client();
    const making = (async () => {
      for (let i = 0; i < 600; i++) await maker.write(`/a/m${i}`, '');
    })();
    expect(await store(['chmod', '-r', '/a', 'n0', 'r9'])).toEqual(done);
    await making;
    const nodes = (await store(['ls', '-fp', '/a'])).stdout.split('\n').slice(0, -1);
    expect(nodes).toHaveLength(1200);
    expect(nodes.filter(line => !line.endsWith('   (n0,r9)'))).toEqual([]);
  });

  it.each(['q0', 'r', 'n-1', 'r3junk', 'n65536', 'nn0'])('refuses %s before it asks for anything', async mode => {
    await xs.write('/a', '');
    expect(await store(['chmod', '/a', 'r5', mode])).toEqual(
      fails(`${mode}: not a permission, which is one of n, r, w, b and a domid`),
    );
    expect(await xs.getPerms('/a')).toEqual(['n0']);
  });
});

/** A watch that runs until `end`, and what it has printed so far. */
function watching(args: string[], call: XlCall = {}) {
  const abort = new AbortController();
  let all = '';
  const run = store(['watch', ...args], {
    ...call,
    interrupted: () => abort.signal,
    onOutput: text => {
      all = text;
    },
  });
  const lines = (): string[] => all.split('\n').slice(0, -1);
  const printed = (count: number): Promise<unknown> => eventually(`${count} lines`, () => lines().length >= count);
  return { run, lines, printed, end: () => abort.abort() };
}

describe('xl store watch', () => {
  it('prints each event with the time and what the node is by then, until it is interrupted', async () => {
    await write({ '/a/b': 'old' });
    const { run, lines, printed, end } = watching(['/a', '@releaseDomain']);
    await printed(2);
    await xs.write('/a/b', 'new\n');
    await printed(3);
    await xs.rm('/a/b');
    await printed(4);
    end();
    expect(await run).toEqual({
      code: 0,
      stderr: '',
      stdout: lines()
        .map(line => `${line}\n`)
        .join(''),
    });
    for (const line of lines()) expect(line).toMatch(/^\d\d:\d\d:\d\d\.\d{3} [/@]/);
    expect(lines().map(line => line.slice(13))).toEqual([
      ...['/a = ""', '@releaseDomain', '/a/b = "new\\n"', '/a/b no such node'],
    ]);
  });

  it('ends after -n lines', async () => {
    const { run, printed, lines } = watching(['-n', '3', '/a']);
    await printed(1);
    await xs.write('/a', '1');
    await xs.write('/a', '2');
    expect((await run).code).toBe(0);
    expect(lines().map(line => line.slice(13))).toHaveLength(3);
    expect(lines()[2]).toContain('/a = "2"');
  });

  it('prints a JSON object a line', async () => {
    const before = Date.now();
    const { run, printed, lines } = watching(['-n', '4', '--json', '@introduceDomain', '/a']);
    await printed(2);
    await xs.write('/a/b', Uint8Array.of(0xff));
    await printed(3);
    await xs.write('/a/c', 'ü');
    expect((await run).code).toBe(0);
    const events = lines().map(line => JSON.parse(line));
    for (const { time } of events) {
      expect(Date.parse(time)).toBeGreaterThanOrEqual(before);
      expect(Date.parse(time)).toBeLessThanOrEqual(Date.now());
    }
    expect(events.map(({ time, ...rest }) => rest)).toEqual([
      { watch: '@introduceDomain', path: '@introduceDomain' },
      { watch: '/a', path: '/a', value: null },
      { watch: '/a', path: '/a/b', base64: '/w==' },
      { watch: '/a', path: '/a/c', value: 'ü' },
    ]);
  });

  it('is coloured on a terminal', async () => {
    const { run } = watching(['-n', '1', '/tool'], { columns: 80 });
    expect((await run).stdout.slice(0, 4)).toBe('\x1b[2m');
  });

  it('does not hoard the same event for a reader who is slow', async () => {
    const client = await xenstored.client();
    const events = new WatchedEvents(() => new Date());
    await events.watch(client, ['/flood']);
    // One after the other: each event is here before the next write is made.
    for (let i = 0; i < 6000; i++) await client.write(`/flood/n${i % 2}`, `${i}`);
    await client.write('/flood/last', '');
    const paths: string[] = [];
    while (paths.at(-1) !== '/flood/last') paths.push((await events.next())!.path);
    expect(paths.length).toBeLessThan(4200);
    expect(new Set(paths)).toEqual(new Set(['/flood', '/flood/n0', '/flood/n1', '/flood/last']));
    await client.write('/flood/n0', 'again');
    expect((await events.next())?.path).toBe('/flood/n0');
  });

  it('says that the daemon went away', async () => {
    const other = await LoneXenstored.start();
    const { run, printed } = watching(['/tool'], { env: { XENSTORED_PATH: other.socket } });
    await printed(1);
    await other.kill();
    const { code, stdout, stderr } = await run;
    expect([code, stderr]).toEqual([1, 'xl store: xenstored closed the connection\n']);
    expect(stdout).toMatch(/ \/tool = ""\n$/);
    const socket = other.socket;
    expect(await store(['watch', '/tool'], { env: { XENSTORED_PATH: socket } })).toEqual(
      fails(`${socket}: no xenstored listens there`),
    );
    await other.stop();
  });
});

describe('the store that is meant', () => {
  it('is that of XENSTORED_PATH, of XENSTORED_RUNDIR, of the host, in this order', async () => {
    const { socket } = xenstored;
    const folder = socket.slice(0, socket.lastIndexOf('/'));
    const at = (env: NodeJS.ProcessEnv): Promise<XlRun> => xl(['store', 'read', '/tool'], { env });
    expect(await at({ XENSTORED_PATH: socket, XENSTORED_RUNDIR: '/nope' })).toEqual(done);
    expect(await at({ XENSTORED_PATH: '/nope', XENSTORED_RUNDIR: folder })).toEqual(
      fails('/nope: no xenstored listens there'),
    );
    expect(await at({ XENSTORED_RUNDIR: folder })).toEqual(done);
    expect(await at({ XENSTORED_RUNDIR: `${folder}/socket` })).toEqual(
      fails(`${folder}/socket/socket: no xenstored listens there`),
    );
    expect(await at({})).toEqual(fails("no xenolith host runs on /nonexistent/xenolith (`xl up FILE' starts one)"));
  });
});

describe('a mistaken command line', () => {
  it.each([
    [[], "'xl store' requires at least 1 argument.\n\n", 'store <ls|read'],
    [['list'], "'xl store' has no command 'list'.\n\n", 'store <ls|read'],
    [['ls', '-x'], "option `x' not supported.\n", undefined],
    [['rm', '--json', '/a'], "option `json' not supported.\n", undefined],
    [['read'], "'xl store read' requires at least 1 argument.\n\n", 'store read [options]'],
    [['write', '/a'], "'xl store write' requires at least 2 arguments.\n\n", 'store write [options]'],
    [['write', '/a', '1', '/b'], "'xl store write': /b has no value.\n\n", 'store write [options]'],
    [['watch'], "'xl store watch' requires at least 1 argument.\n\n", 'store watch [options]'],
    [['chmod', '/a'], "'xl store chmod' requires at least 2 arguments.\n\n", 'store chmod [options]'],
  ])('%j prints what is wrong, the usage, and is exit code 2', async (args, stderr, usage) => {
    const run = await store(args);
    expect([run.code, run.stderr]).toEqual([2, stderr]);
    expect(run.stdout.replace(/^Usage: xl \[-vtTf?\] /, '').slice(0, usage?.length ?? 0)).toBe(usage ?? run.stdout);
  });

  it.each([['0'], ['x'], ['-1'], ['1e3']])('-n %s is no number of lines', async count => {
    expect(await store(['watch', '-n', count, '/a'])).toEqual(fails(`-n ${count}: not a number of lines`));
  });

  it('help is in xl help, of the command and of each part', async () => {
    expect((await xl(['help'])).stdout).toContain('\n store               Look at the nodes of xenstore');
    expect((await xl(['help', 'store'])).stdout).toContain('chmod [-r] Path Mode ...\n');
    for (const verb of ['ls', 'read', 'write', 'watch', 'rm', 'chmod']) {
      const run = await store([verb, '-h']);
      expect(run).toMatchObject({ code: 0, stderr: '' });
      expect(run.stdout).toMatch(new RegExp(`^Usage: xl \\[-vtTf?\\] store ${verb} `));
    }
  });
});
