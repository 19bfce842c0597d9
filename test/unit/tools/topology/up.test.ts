import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ToolstackOp } from '#pvbus';
import { findCommand } from '../../../../tools/commands/table.ts';
import { up } from '../../../../tools/commands/up.ts';
import { shellQuoted } from '../../../../tools/shell-quoted.ts';
import { onHost } from '../../../../tools/spelling.ts';
import { FakeToolstack } from '../../../support/fake-toolstack.ts';
import { type XlRun, xl, xlCommand } from '../../../support/xl.ts';

const FAKE_HOST = ['--import', 'tsx', join(import.meta.dirname, '../../../support/fake-host.ts')];

const TOPOLOGY = `
bridges: [office]
images:
  - { path: www.img, size: 1M, format: fat }
domains:
  web: { kernel: k.js, memory: 32, disk: ["www.img,raw,xvda,w"], after: db }
  db: { kernel: k.js, paused: true }
hints:
  - url: http://127.0.0.1:8080/
  - try: xl list && xl ps
`;

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'xl-up-'));
  writeFileSync(join(cwd, 'topology.yaml'), TOPOLOGY);
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

/** The lines of a run, times taken out. */
const lines = (text: string): string[] =>
  text
    .replaceAll(/^ *[0-9]+ ms {2}/gm, '- ')
    .trimEnd()
    .split('\n');

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 2));
}

describe('xl up and xl down on a host that runs', () => {
  let host: FakeToolstack;
  beforeEach(async () => {
    host = await FakeToolstack.start();
  });
  afterEach(async () => {
    await until(() => host.connections === 0);
    await host.stop();
  });
  const on = (argv: string[], more = {}): Promise<XlRun> => xl(argv, { dir: host.dir, cwd, ...more });
  /** The requests that change something. */
  const acts = (): ToolstackOp[] =>
    host.requests.map(({ op }) => op).filter(op => !['list', 'shares', 'topologies', 'config', 'domid'].includes(op));
  const write = (text: string): void => writeFileSync(join(cwd, 'topology.yaml'), text);

  it('-n prints the steps and takes none', async () => {
    expect(await on(['up', '-n', 'topology.yaml'])).toEqual({
      ...{ code: 0, stderr: '' },
      stdout:
        '+ image www.img (fat, 1 MiB)\n+ bridge office\n+ domain db, paused\n+ domain web after db\n' +
        '\n4 of 4 would change.\n',
    });
    expect(acts()).toEqual([]);
    expect(existsSync(join(cwd, 'www.img'))).toBe(false);
  });

  it('brings the domains up in order, a line a phase, and returns', async () => {
    const run = await on(['up', 'topology.yaml'], { xl: 'npx xl' });
    expect([run.code, run.stderr]).toEqual([0, '']);
    expect(lines(run.stdout).slice(0, 4)).toEqual([
      '- image www.img (fat, 1 MiB)',
      '- bridge office',
      '- domain db, paused: domain 1, memory 2, devices 3',
      '- domain web after db: domain 1, memory 2, devices 3',
    ]);
    expect(run.stdout).toContain(
      '\nName                                        ID   Mem VCPUs\tState\tTime(s)\nDomain-0 ',
    );
    const here = onHost('npx xl', { XENOLITH_RUN_DIR: host.dir });
    expect(run.stdout.endsWith(`\nurl  http://127.0.0.1:8080/\ntry  ${here} list && ${here} ps\n`)).toBe(true);
    expect([...host.domains.values()].map(({ name, paused }) => [name, paused])).toEqual([
      ...[
        ['Domain-0', false],
        ['db', true],
        ['web', false],
      ],
    ]);
    expect([...host.bridges]).toEqual(['office']);
  });

  /** The domains that were asked for, in order. */
  const asked = (): string[] => host.requests.flatMap(({ op, args }) => (op === 'create' ? [args.config.name] : []));
  const slowly = (name: string): (() => void) => {
    let go = (): void => {};
    host.slow.set(name, new Promise(resolve => (go = resolve)));
    return go;
  };

  it('makes several at once, asked for in order; one that needs another waits, and those behind it with it', async () => {
    write(
      'domains:\n  a: { kernel: k.js }\n  b: { kernel: k.js }\n  c: { kernel: k.js, after: a }\n  d: { kernel: k.js }\n',
    );
    const [a, b] = [slowly('a'), slowly('b')];
    const run = on(['up', '-q', 'topology.yaml']);
    await until(() => asked().length === 2);
    b();
    await until(() => [...host.domains.values()].some(({ name }) => name === 'b'));
    expect(asked()).toEqual(['a', 'b']);
    a();
    expect((await run).code).toBe(0);
    expect(asked()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('begins none after a failure, and waits for those that go on before it undoes them', async () => {
    write('domains:\n  a: { kernel: k.js }\n  b: { kernel: k.js }\n  c: { kernel: k.js, after: b }\n');
    const a = slowly('a');
    host.add({ domid: 7, name: 'b' }); // somebody else's
    const run = on(['up', 'topology.yaml'], {
      onOutput: (all: string) => {
        if (all.includes('domain b: failed')) a();
      },
    });
    expect(await run).toMatchObject({ code: 1, stderr: "xl: name: 'b' is in use\n" });
    expect(asked()).toEqual(['a', 'b']);
    expect(lines((await run).stdout).at(-1)).toBe('- end of a');
    expect([...host.domains.values()].map(({ name }) => name)).toEqual(['Domain-0', 'b']);
  });

  it('a second run changes nothing, and says so', async () => {
    await on(['up', '-q', 'topology.yaml']);
    const before = [...host.domains.values()].map(({ domid, uuid }) => [domid, uuid]);
    host.requests.length = 0;
    const run = await on(['up', 'topology.yaml']);
    expect([run.code, run.stderr]).toEqual([0, '']);
    expect(lines(run.stdout).slice(0, 4)).toEqual([
      '- image www.img (fat, 1 MiB): kept as it is',
      ...['- domain db, paused: as it is', '- domain web after db: as it is', '- bridge office'],
    ]);
    expect(acts()).toEqual(['createBridge', 'noteTopology']);
    expect([...host.domains.values()].map(({ domid, uuid }) => [domid, uuid])).toEqual(before);
    const dry = await on(['up', '--dry-run', 'topology.yaml']);
    expect(dry.stdout).toBe(
      '= image www.img (fat, 1 MiB)\n= bridge office\n= domain db, paused\n= domain web after db\n' +
        '\nNothing would change.\n',
    );
  });

  it('changes memory, vcpus and weight of what runs, makes what is new, ends what has gone', async () => {
    write('domains:\n  a: { kernel: k.js, memory: 64, vcpus: 1, maxvcpus: 2 }\n  b: { kernel: k.js }\n');
    await on(['up', '-q', 'topology.yaml']);
    const a = [...host.domains.values()].find(({ name }) => name === 'a')!;
    const credit = { weight: 256, cap: 0 };
    host.processors.shares.push({
      domid: a.domid,
      name: 'a',
      pool: 'Pool-0',
      scheduler: 'credit2',
      credit,
      rtds: null,
    });
    a.vcpu_max_id = 1;
    host.requests.length = 0;
    write(
      'domains:\n  a: { kernel: k.js, memory: 48, maxmem: 64, vcpus: 2, maxvcpus: 2, cpu_weight: 512 }\n  c: { kernel: k.js }\n',
    );
    const change = 'domain a: memory 64 -> 48, vcpus 1 -> 2, cpu_weight 256 -> 512';
    const dry = await on(['up', '-n', 'topology.yaml']);
    expect(dry.stdout).toBe(`~ ${change}\n+ domain c\n- domain b\n\n3 of 3 would change.\n`);
    expect(acts()).toEqual([]);
    const run = await on(['up', 'topology.yaml']);
    expect([run.code, run.stderr]).toEqual([0, '']);
    expect(lines(run.stdout).slice(0, 3)).toEqual([
      '- end of b',
      `- ${change}`,
      '- domain c: domain 1, memory 2, devices 3',
    ]);
    expect(host.requests.find(({ op }) => op === 'setCredit')).toMatchObject({
      args: { domid: a.domid, scheduler: 'credit2', weight: 512, cap: null },
    });
    expect(a).toMatchObject({ current_kb: 48 << 10, vcpu_online: 2 });
    expect([...host.domains.values()].map(({ name }) => name)).toEqual(['Domain-0', 'a', 'c']);
    host.processors.shares[0] = { ...host.processors.shares[0]!, credit: { weight: 512, cap: 0 } };
    expect((await on(['up', '-n', 'topology.yaml'])).stdout).toContain('Nothing would change.');
  });

  it('names what needs --recreate, and makes it anew when told to', async () => {
    write('domains:\n  a: { kernel: k.js, memory: 64 }\n  b: { kernel: k.js }\n');
    await on(['up', '-q', 'topology.yaml']);
    const [, a, b] = [...host.domains.values()];
    host.end(b!.domid, 'shutdown', 3);
    write('domains:\n  a: { kernel: other.js, memory: 65 }\n  b: { kernel: k.js }\n');
    const wishes = [
      'domain a: needs --recreate (maxmem, kernel)',
      'domain b: needs --recreate (it has shut down (crash))',
    ];
    expect((await on(['up', '-n', 'topology.yaml'])).stdout).toBe(
      `! ${wishes[0]}\n! ${wishes[1]}\n\n2 of 2 would change.\n`,
    );
    const run = await on(['up', '-q', 'topology.yaml']);
    expect(run).toEqual({
      ...{ code: 1, stdout: '' },
      stderr:
        'xl up: domain a needs --recreate: maxmem, kernel\n' +
        'xl up: domain b needs --recreate: it has shut down (crash)\n',
    });
    expect([...host.domains.keys()]).toEqual([0, a!.domid, b!.domid]);
    expect((await on(['up', '-q', '--recreate', 'topology.yaml'])).code).toBe(0);
    expect([...host.domains.values()].map(({ name, current_kb }) => [name, current_kb >> 10])).toEqual([
      ...[
        ['Domain-0', 512],
        ['a', 65],
        ['b', 32],
      ],
    ]);
    expect(host.domains.has(a!.domid)).toBe(false);
  });

  it('ends no domain of a name that somebody else has made since, and no other topology’s', async () => {
    write('domains:\n  a: { kernel: k.js }\n  b: { kernel: k.js }\n');
    writeFileSync(join(cwd, 'other.yaml'), 'domains:\n  x: { kernel: k.js }\n');
    await on(['up', '-q', 'topology.yaml']);
    await on(['up', '-q', 'other.yaml']);
    const b = [...host.domains.values()].find(({ name }) => name === 'b')!;
    host.end(b.domid, 'destroyed');
    host.add({ domid: 9, name: 'b', uuid: '11111111-2222-4333-8444-555555555555' });
    write('domains:\n  a: { kernel: k.js }\n');
    expect((await on(['up', '-q', 'topology.yaml'])).code).toBe(0);
    expect([...host.domains.values()].map(({ name }) => name)).toEqual(['Domain-0', 'a', 'x', 'b']);
    write('domains:\n  y: { kernel: k.js }\n');
    const down = await on(['down', 'topology.yaml']); // a is not in the file any more, but came with it
    expect(lines(down.stdout)).toEqual(['- end of y: gone already', '- end of a']);
    expect(host.topologies.all().map(({ path }) => path)).toEqual([join(cwd, 'other.yaml')]);
  });

  it('keeps an image that a running domain writes, also where it says recreate', async () => {
    write(TOPOLOGY.replace('format: fat', 'format: fat, recreate: true'));
    await on(['up', '-q', 'topology.yaml']);
    const image = join(cwd, 'www.img');
    const inode = statSync(image).ino;
    await on(['up', '-q', 'topology.yaml']);
    expect(statSync(image).ino).toBe(inode);
  });

  it('shows on a terminal what goes on, and nothing of that in a pipe', async () => {
    const run = await on(['up', 'topology.yaml'], { columns: 60 });
    expect(run.stdout).toContain(
      '\r\x1b[K    ... domain db, paused: domain 1\r\x1b[K    ... domain db, paused: domain 1, memory 2',
    );
    expect(run.stdout.split('\r\x1b[K').every(part => !part.startsWith('    ...') || part.length < 60)).toBe(true);
    await on(['down', '-q', 'topology.yaml']);
    expect((await on(['up', 'topology.yaml'])).stdout).not.toContain('\x1b');
  });

  it('down ends them in reverse and leaves the host and the images', async () => {
    await on(['up', '-q', 'topology.yaml']);
    host.requests.length = 0;
    const run = await on(['down', 'topology.yaml']);
    expect([run.code, run.stderr]).toEqual([0, '']);
    expect(lines(run.stdout)).toEqual(['- end of web', '- end of db: destroyed', '- end of bridge office']);
    expect([...host.domains.keys()]).toEqual([0]);
    expect(host.bridges.size).toBe(0);
    // web was asked first; db, which is paused, could not have heard.
    expect(host.requests.filter(({ op }) => op === 'shutdown')).toHaveLength(1);
    expect(existsSync(join(cwd, 'www.img'))).toBe(true);
  });

  it('down ends as many as there are, a few at a time', async () => {
    const names = Array.from({ length: 80 }, (_, i) => `d${i}`);
    write(`domains:\n${names.map(name => `  ${name}: { kernel: k.js }\n`).join('')}`);
    await on(['up', '-q', 'topology.yaml']);
    const run = await on(['down', 'topology.yaml']);
    expect([run.code, run.stderr]).toEqual([0, '']);
    expect(new Set(lines(run.stdout))).toEqual(new Set(names.map(name => `- end of ${name}`)));
    expect(host.mostAtOnce).toBeLessThanOrEqual(64);
  });

  it('down of what is not there says so and succeeds', async () => {
    const run = await on(['down', 'topology.yaml']);
    expect(run.code).toBe(0);
    expect(lines(run.stdout)).toEqual([
      ...['- end of web: gone already', '- end of db: gone already', '- end of bridge office: gone already'],
    ]);
  });

  it('a failure half way undoes what was done, and only that', async () => {
    host.add({ domid: 7, name: 'web' }); // somebody else's
    const run = await on(['up', 'topology.yaml']);
    expect(run.code).toBe(1);
    expect(run.stderr).toBe("xl: name: 'web' is in use\n");
    expect(lines(run.stdout).slice(3)).toEqual(['- domain web after db: failed', '- end of db: destroyed']);
    expect([...host.domains.values()].map(({ name }) => name)).toEqual(['Domain-0', 'web']);
    expect(host.bridges.size).toBe(0);
    expect(existsSync(join(cwd, 'www.img'))).toBe(false);
  });

  it('Ctrl-C half way undoes what was done', async () => {
    const abort = new AbortController();
    const run = await on(['up', 'topology.yaml'], {
      interrupted: () => abort.signal,
      onOutput: (all: string) => {
        if (all.includes('domain db')) abort.abort('SIGINT');
      },
    });
    expect(run).toMatchObject({ code: 130, stderr: 'interrupted; everything was taken down\n' });
    expect([...host.domains.keys()]).toEqual([0]);
    expect(host.bridges.size).toBe(0);
    expect(existsSync(join(cwd, 'www.img'))).toBe(false);
  });

  it('a host port that is in use is found before anything is made', async () => {
    const server = createServer();
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    writeFileSync(join(cwd, 'topology.yaml'), `${TOPOLOGY}host_ports: [{ host: ${port}, domain: web, guest: 80 }]\n`);
    expect(await on(['up', 'topology.yaml'])).toEqual({
      ...{ code: 1, stdout: '' },
      stderr: `xl: host port ${port}, which is for domain web, is in use\n`,
    });
    expect(acts()).toEqual([]);
    server.close();
  });

  it.each([
    [['up'], 2, "'xl up' requires at least 1 argument.\n\n"],
    [['up', 'nosuch.yaml'], 3, 'Failed to read topology file: nosuch.yaml: No such file or directory\n'],
    [['up', '-x'], 2, "option `x' not supported.\n"],
  ])('%j', async (argv, code, stderr) => {
    expect(await on(argv)).toMatchObject({ code, stderr });
  });

  it('real commands of xl win over ours', () => {
    expect(findCommand('u')).toBeUndefined(); // unpause, uptime, usb-list
    expect(findCommand('up')?.name).toBe('up');
    expect(findCommand('do')).toBeUndefined(); // domid, domname
    expect(findCommand('dow')?.name).toBe('down');
  });
});

describe('xl up where no host runs', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'xl-host-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const start = (program: readonly string[], more: Parameters<typeof xlCommand>[2] = {}) =>
    xlCommand(findCommand('up')!, (args, context) => up(args, context, program), { dir, cwd, ...more }, [
      'topology.yaml',
    ]);
  const socketIsGone = (): void => {
    expect(existsSync(join(dir, 'toolstack.sock'))).toBe(false);
    expect(existsSync(join(dir, 'topology'))).toBe(false);
  };

  it('starts one, stays, and takes everything down on Ctrl-C', async () => {
    const abort = new AbortController();
    const run = await start(FAKE_HOST, {
      interrupted: () => abort.signal,
      onOutput: all => {
        if (all.includes('Ctrl-C ends it')) abort.abort('SIGINT');
      },
    });
    expect([run.code, run.stderr]).toEqual([0, '']);
    const said = lines(run.stdout);
    expect(said[1]).toBe(`- host on ${dir}`);
    expect(said.filter(line => /^- end of/.test(line))).toEqual(['- end of web', '- end of db: destroyed']);
    socketIsGone();
    expect(existsSync(join(cwd, 'www.img'))).toBe(true);
  });

  it('ends when xl down of the same file was called', async () => {
    let down: Promise<XlRun> | undefined;
    const run = await start(FAKE_HOST, {
      onOutput: all => {
        if (all.includes('Ctrl-C ends it')) down ??= xl(['down', 'topology.yaml'], { dir, cwd });
      },
    });
    expect(run).toMatchObject({ code: 0, stderr: '' });
    const { code, stdout } = await down!;
    expect(code).toBe(0);
    expect(lines(stdout).at(-1)).toBe('- end of the host');
    socketIsGone();
  });

  it('tells what becomes of the domains', async () => {
    let once = false;
    const run = await start(FAKE_HOST, {
      onOutput: all => {
        if (all.includes('web, domain 2, is gone')) void xl(['down', 'topology.yaml'], { dir, cwd });
        if (once || !all.includes('Ctrl-C ends it')) return;
        once = true;
        void xl(['destroy', 'web'], { dir, cwd });
      },
    });
    expect(run.code).toBe(0);
    expect(run.stdout).toContain('\nweb, domain 2, is gone\n');
  });

  it('says why a host did not start', async () => {
    const run = await start([...FAKE_HOST, '--fail', 'no futex_waitv here']);
    expect(run.code).toBe(1);
    expect(run.stderr).toBe(`xl: the host on ${dir} did not start: no futex_waitv here\n`);
    expect(existsSync(join(cwd, 'www.img'))).toBe(false);
    socketIsGone();
  });

  it('names its log where there is one, and the error where Node has printed more', async () => {
    const log = join(dir, 'host.log');
    writeFileSync(log, '');
    const run = await start([
      ...FAKE_HOST,
      '--fail',
      '  throw it;\n\nRangeError: no room\n    at x\n\nNode.js v20.20.2',
    ]);
    expect(run.stderr).toBe(`xl: the host on ${dir} did not start: RangeError: no room (more in ${log})\n`);
    const temporary = await start([...FAKE_HOST, '--temporary', '--fail', 'no room']);
    expect(temporary.stderr).toBe(`xl: the host on ${dir} did not start: no room\n`);
  });

  it('makes nothing where the run directory is too long', async () => {
    const long = join(dir, 'x'.repeat(100));
    const run = await start(FAKE_HOST, { dir: long });
    expect([run.code, run.stdout]).toEqual([1, '']);
    expect(run.stderr).toMatch(/^xl: run directory [^\n]+: [^\n]+ is too long for a unix socket\n$/);
    expect(existsSync(join(cwd, 'www.img'))).toBe(false);
  });

  it('a failure half way ends the host too', async () => {
    const run = await start([...FAKE_HOST, '--refuse-create', 'kernel: /k.js does not exist']);
    expect(run).toMatchObject({ code: 1, stderr: 'xl: kernel: /k.js does not exist\n' });
    socketIsGone();
    expect(existsSync(join(cwd, 'www.img'))).toBe(false);
  });

  it('a host that dies is an error', async () => {
    let killed = false;
    const run = await start(FAKE_HOST, {
      onOutput: all => {
        if (killed || !all.includes('Ctrl-C ends it')) return;
        killed = true;
        process.kill(Number(/ (\d+)/.exec(childOf(process.pid))![1]), 'SIGKILL');
      },
    });
    expect(run.code).toBe(1);
    expect(run.stderr).toBe('the host ended by itself: SIGKILL\n');
    expect(existsSync(join(dir, 'topology'))).toBe(false);
  });
});

/** The newest child of a process, as ` PID`. */
const childOf = (pid: number): string =>
  ` ${readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').at(-1)}`;

describe('xl up below npm', () => {
  it('is gone with npm, host and all', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'xl-host-'));
    const root = join(import.meta.dirname, '../../../..');
    const words = [process.execPath, '--import', 'tsx', 'test/support/up-with-fake-host.ts', dir, cwd].map(shellQuoted);
    const start = `cd ${shellQuoted(root)} && ${words.join(' ')}`;
    writeFileSync(join(cwd, 'package.json'), JSON.stringify({ scripts: { start } }));
    const npm = spawn('npm', ['start', '--prefix', cwd], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      let said = '';
      npm.stdout.on('data', chunk => {
        said += chunk;
      });
      await until(() => said.includes('Ctrl-C ends it') || npm.exitCode !== null);
      expect(npm.exitCode).toBeNull();
      const pids = descendants(npm.pid!);
      expect(pids.length).toBeGreaterThanOrEqual(3); // a shell, xl, the host
      npm.kill('SIGKILL');
      await until(() => !pids.some(alive));
    } finally {
      npm.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    }
  });

  const descendants = (pid: number): number[] => {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
    return children.flatMap(child => [child, ...descendants(child)]);
  };
  const alive = (pid: number): boolean => {
    try {
      return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    } catch {
      return false;
    }
  };
});
