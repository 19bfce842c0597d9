// A guest that has got hold of Node's own modules and of koffi, and tries to get out: files, sockets, programs, processes,
// memory that is not its own, more memory and descriptors than it may have. It gets nothing anywhere, a domain beside it
// does not notice; before there was confinement it got everything that the host's user has.
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { dist, type HostOptions, HostRig } from '../../support/host-rig.ts';
import { NOBODY, whyNotAsNobody } from '../../support/nobody.ts';
import { eventually, isShell, processOfDomain } from '../../support/processes.ts';

const users: [string, HostOptions][] = [['the user who runs this', {}]];
if (whyNotAsNobody() === undefined) users.push(['a user without privileges', { user: NOBODY }]);

describe.each(users)('on a host of %s', (_who, options) => {
  let host: HostRig;
  let server: Server;
  let connections = 0;
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-confined-'));
  let layers: string[];
  let pid: number;
  let said: Map<string, string>;

  function cfg(name: string, keys: Record<string, string> = {}): string {
    const all = { name: `"${name}"`, kernel: `"${dist('domu-kernel.js')}"`, memory: '16', ...keys };
    const file = join(dir, `${name}.cfg`);
    writeFileSync(
      file,
      Object.entries(all)
        .map(([key, value]) => `${key} = ${value}\n`)
        .join(''),
    );
    return file;
  }
  const program = (name: string): string => `"${join(import.meta.dirname, name)}"`;

  /** It maps the domain's memory a moment after the create has returned. */
  const processOf = (domid: number): Promise<number> =>
    eventually(`dom${domid} has a process`, () => {
      try {
        return processOfDomain(domid, host.processes());
      } catch {
        return undefined;
      }
    }).catch(error => {
      throw new Error(`${error.message}\n${host.logToQuote()}`);
    });

  beforeAll(async () => {
    if (options.user !== undefined) chownSync(dir, options.user, options.user);
    server = createServer(socket => {
      connections++;
      socket.destroy();
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    host = await HostRig.start(options);
    layers = JSON.parse((await host.xl('info', '--json')).stdout).confinement;
    expect(await host.xl('create', '-q', cfg('bystander', { ramdisk: program('bystander.ts') }))).toMatchObject({
      exitCode: 0,
    });
    const other = await processOf(1);
    const port = (server.address() as { port: number }).port;
    const escapee = cfg('escapee', {
      ...{ ramdisk: program('escapee.ts'), vcpus: '2', on_crash: '"preserve"' },
      cmdline: `"folder=${host.runDir} other=${other} port=${port}"`,
    });
    expect(await host.xl('create', '-q', escapee)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    await eventually('it has tried everything', () => {
      if (host.log().includes('(dom2) has crashed')) throw new Error('it has crashed before it had tried everything');
      return host.consoleLog('escapee').includes('tried everything');
    }).catch(error => {
      throw new Error(`${error.message}\n${host.consoleLog('escapee')}\n${host.logToQuote()}`);
    });
    pid = await processOf(2);
    const lines = host.consoleLog('escapee').matchAll(/^(.*?): ((?:GOT|denied).*?)\r?$/gm);
    said = new Map([...lines].map(([, act, outcome]) => [act!, outcome!]));
  });
  afterAll(async () => {
    await host?.stop();
    server?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('it has Node and koffi in its hands', () => {
    expect(said.get('modules')).toBe('GOT function');
    expect(said.size).toBeGreaterThan(60);
  });
  it('it gets nothing, whatever it asks Linux for', context => {
    if (!layers.includes('seccomp')) context.skip();
    const got = [...said].filter(([act, outcome]) => act !== 'modules' && !outcome.startsWith('denied'));
    expect(got).toEqual([]);
    // EPERM and ENOSYS: it is the filter that says so, not an argument that is wrong.
    const calls = [...said].filter(([act]) => act.startsWith('call '));
    expect(calls.filter(([, outcome]) => !/^denied errno (1|38)$/.test(outcome))).toEqual([]);
    expect(connections).toBe(0);
    expect(existsSync(join(host.runDir, 'escaped'))).toBe(false);
  });
  it('each of its threads is confined as xl info says, and it shares no namespace with the host', context => {
    if (layers.length < 5) context.skip(); // said by xl info and the log
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1');
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
      expect(status).toMatch(/^Seccomp:\t2$/m);
      expect(status).toMatch(/^CapEff:\t0{16}$/m);
      expect(status).toMatch(/^CapPrm:\t0{16}$/m);
    }
    for (const name of ['user', 'mnt', 'net', 'pid', 'ipc', 'uts', 'cgroup'])
      expect(readlinkSync(`/proc/${pid}/ns/${name}`)).not.toBe(readlinkSync(`/proc/${host.hypervisorPid}/ns/${name}`));
    const limits = readFileSync(`/proc/${pid}/limits`, 'latin1');
    expect(limits).toMatch(/^Max core file size +1 +1 /m);
    expect(limits).toMatch(/^Max file size +0 +0 /m);
    expect(limits).toMatch(/^Max open files +[0-9]+ +4096 /m);
    expect(limits).toMatch(/^Max processes +0 +0 /m);
    expect(limits).toMatch(/^Max data size +[0-9]+ +[0-9]+ /m);
  });
  it('it has no descriptor but its own', () => {
    const own = /^(\/dev\/null|socket:|pipe:|anon_inode:\[(eventfd|eventpoll)\]|\/memfd:xenolith-)/;
    const has = readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return []; // closed meanwhile
      }
    });
    expect(has.filter(name => !own.test(name))).toEqual([]);
    // No memory of the domain beside it.
    expect(has.filter(name => /memfd:xenolith-dom(?!2\b)/.test(name))).toEqual([]);
  });
  it('nothing of the host may gain privileges or leave a core', () => {
    let looked = 0;
    for (const one of host.processes().filter(each => !isShell(each))) {
      let status: string;
      let limits: string;
      try {
        status = readFileSync(`/proc/${one}/status`, 'latin1');
        limits = readFileSync(`/proc/${one}/limits`, 'latin1');
      } catch {
        continue; // one that bundled a program, or launched a shell: it has ended meanwhile
      }
      looked++;
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
      expect(limits).toMatch(/^Max core file size +[01] +[01] /m);
    }
    expect(looked).toBeGreaterThanOrEqual(3); // hypervisor, xenstored, dom0
  });
  it('a domain that demands every layer runs where they are, and else is refused in one line', async () => {
    const { exitCode, stderr } = await host.xl('create', '-q', cfg('strict', { confine: '"strict"' }));
    const missing = ['no_new_privs', 'limits', 'landlock', 'namespaces', 'seccomp'].filter(
      layer => !layers.includes(layer),
    );
    if (missing.length === 0) expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    else {
      expect(exitCode).not.toBe(0);
      expect(stderr).toContain(`confine: this host has no ${missing.join(', ')} (xl doctor says why)\n`);
    }
  });
  it('a call that nobody needs is the end of the domain, and of no other', async context => {
    if (!layers.includes('seccomp')) context.skip();
    const socket = connect(runPaths(host.runDir).consoleSocket(2));
    socket.write('die\n');
    await eventually('it has crashed', () => /'escapee' \(dom2\) has crashed: .*SIGSYS/.test(host.log())).catch(
      error => {
        throw new Error(`${error.message}\n${host.logToQuote()}`);
      },
    );
    expect((await host.domains()).find(({ name }) => name === 'bystander')?.state).toMatch(/^[-r][-b]----$/);
    const beats = (): number => host.consoleLog('bystander').split('beat').length;
    const before = beats();
    await eventually('it goes on', () => beats() > before);
    socket.destroy();
  });
});
