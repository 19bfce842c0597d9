// A guest that has got hold of Node's own modules and of koffi, and tries to get out: files, sockets, programs, processes,
// memory that is not its own, more memory and descriptors than it may have. It gets nothing anywhere, a domain beside it
// does not notice; before there was confinement it got everything that the host's user has.
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect, createServer, type ListenOptions, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CAPABILITIES, closeFd, koffi, mayDropCapabilities, openProcess, runPaths } from '#pvbus';
import { HOST_CAPABILITIES } from '../../../hypervisor/confinement/host-capabilities.ts';
import { withXenstore } from '../../../tools/library/with-xenstore.ts';
import { dist, type HostOptions, HostRig, root } from '../../support/host-rig.ts';
import { NOBODY, whyNotAsNobody } from '../../support/nobody.ts';
import { commandLine, eventually, isShell, processOfDomain } from '../../support/processes.ts';

const users: [string, HostOptions][] = [['the user who runs this', {}]];
if (whyNotAsNobody() === undefined) users.push(['a user without privileges', { user: NOBODY }]);

/** Goes to sockets, one after the other, asks xenstored's question for `/`, and says what came of it when it is hung up on. */
const VISITOR = `
const question = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 47, 0]);
const visit = path => new Promise(resolve => {
  const socket = require('net').connect(path);
  socket.on('data', () => resolve('answered')).on('end', () => resolve('hung up'));
  socket.on('error', ({ code }) => resolve(code === 'ECONNRESET' || code === 'EPIPE' ? 'hung up' : code));
  socket.write(question);
});
(async () => {
  for (const path of process.argv.slice(1)) console.log(await visit(path));
  process.exit();
})();
`;
const LAYERS = ['no_new_privs', 'limits', 'landlock', 'namespaces', 'seccomp'];

const MEMORY_MIB = 16;
const VCPUS = 2;
/** What Linux counts as data of a Node that has just started. */
function engineMib(): number {
  const program = "process.stdout.write(require('fs').readFileSync('/proc/self/status', 'latin1'))";
  const { stdout } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  return Number(/^VmData:\s+([0-9]+) kB$/m.exec(stdout)?.[1]) / 1024;
}

const STDERR = 2;
const SYS_pidfd_getfd = 438;
/** By the very descriptor of that process; false where this user may not have it. */
function writeAs(pid: number, fd: number, text: string): boolean {
  const pidfd = openProcess(pid);
  const call = koffi.load('libc.so.6').func('int64_t syscall(int64_t, int64_t, int64_t, int64_t)');
  const own = Number(call(SYS_pidfd_getfd, pidfd, fd, 0));
  closeFd(pidfd);
  if (own < 0) return false;
  writeSync(own, text);
  closeFd(own);
  return true;
}

/** One without a kernel of its own. */
const DRIVER = { kernel: '""', driver_domain: '1', vcpus: '3' };

describe.each(users)('on a host of %s', (_who, options) => {
  let host: HostRig;
  let servers: Server[] = [];
  let connections = 0;
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-confined-'));
  let layers: string[];
  let pid: number;
  let said: Map<string, string>;
  /** MiB that xl info counts for the one that wants out. */
  let beyond: number;

  function cfg(name: string, keys: Record<string, string> = {}): string {
    const all = { name: `"${name}"`, kernel: `"${dist('domu-kernel.js')}"`, memory: String(MEMORY_MIB), ...keys };
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
    const serve = (at: ListenOptions): Promise<Server> =>
      new Promise(resolve => {
        const server = createServer(socket => {
          connections++;
          socket.destroy();
        });
        server.listen(at, () => resolve(server));
      });
    const abstract = `xenolith-test-${process.pid}`;
    servers = await Promise.all([serve({ port: 0, host: '127.0.0.1' }), serve({ path: `\0${abstract}` })]);
    host = await HostRig.start(options);
    layers = JSON.parse((await host.xl('info', '--json')).stdout).confinement;
    expect(await host.xl('create', '-q', cfg('bystander', { ramdisk: program('bystander.ts') }))).toMatchObject({
      exitCode: 0,
    });
    const other = await processOf(1);
    const port = (servers[0]!.address() as { port: number }).port;
    const escapee = cfg('escapee', {
      ...{ ramdisk: program('escapee.ts'), vcpus: String(VCPUS), on_crash: '"preserve"' },
      cmdline: `"folder=${host.runDir} other=${other} port=${port} abstract=${abstract}"`,
    });
    const processMemory = async (): Promise<number> =>
      JSON.parse((await host.xl('info', '--json')).stdout).process_memory;
    const before = await processMemory();
    expect(await host.xl('create', '-q', escapee)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    beyond = (await processMemory()) - before;
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
    for (const server of servers) server.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('it has Node and koffi in its hands', () => {
    expect(said.get('modules')).toBe('GOT function');
    expect(said.size).toBeGreaterThan(160);
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
  it('it gets no more memory than its own and what xl info counts beyond', async () => {
    const got = Number(/^denied at ([0-9]+) MiB, errno 12$/.exec(said.get('memory') ?? '')?.[1]);
    expect(got).toBeGreaterThan(0);
    expect(got).toBeLessThanOrEqual(MEMORY_MIB + beyond);
    // What a Node begins with is counted when the host has loaded its own: a little more than this one's.
    expect(beyond).toBeLessThanOrEqual(engineMib() + 64 + VCPUS * 128);
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
  it('what it prints by itself is in the log of the host, with its number', async () => {
    await eventually('it is there', () => /the process of dom2, \d+, prints: by itself$/m.test(host.log()));
  });
  it('nothing of the host may gain privileges, leave a core, or is without the filter of all', () => {
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
      if (layers.includes('seccomp')) expect(status).toMatch(/^Seccomp:\t2$/m);
    }
    expect(looked).toBeGreaterThanOrEqual(3); // hypervisor, xenstored, dom0
  });
  it('xenstored has no capability, and the others have none that nobody of a host needs', () => {
    const capabilities = (file: string, which: string): bigint => {
      const status = readFileSync(file, 'latin1');
      return BigInt(`0x${new RegExp(`^${which}:\\t(.*)$`, 'm').exec(status)![1]}`);
    };
    const kept = HOST_CAPABILITIES.reduce((bits, name) => bits | (1n << BigInt(CAPABILITIES[name])), 0n);
    const programs = host.processes().filter(one => !isShell(one));
    const ofProgram = (name: string): number => programs.find(one => commandLine(one).includes(`/${name}.js`))!;
    for (const which of [
      'CapEff',
      'CapPrm',
      ...(mayDropCapabilities() && options.user === undefined ? ['CapBnd'] : []),
    ]) {
      for (const tid of readdirSync(`/proc/${ofProgram('xenstored')}/task`))
        expect(capabilities(`/proc/${ofProgram('xenstored')}/task/${tid}/status`, which)).toBe(0n);
      for (const tid of readdirSync(`/proc/${ofProgram('dom0')}/task`))
        expect(capabilities(`/proc/${ofProgram('dom0')}/task/${tid}/status`, which) & ~kept).toBe(0n);
      expect(capabilities(`/proc/${host.hypervisorPid}/status`, which) & ~kept).toBe(0n);
    }
  });
  it('xenstored has no file but those of its run directory', async context => {
    if (!layers.includes('landlock')) context.skip();
    const log = join(dir, 'xenstored.log');
    const own = join(host.runDir, 'log', 'xenstored.log');
    const control = (path: string): Promise<string> =>
      withXenstore(host, xs => xs.control('logfile', path)).catch(error => (error as { code: string }).code);
    expect(await control(log)).toBe('EINVAL');
    expect(existsSync(log)).toBe(false);
    expect(await control(own)).toBe('OK');
    expect(existsSync(own)).toBe(true);
    expect(await control('/proc/self/mem')).toBe('EINVAL');
  });
  it('the log of the host names the layers that xl info does not, and no other', () => {
    const absent = [...host.log().matchAll(/domains are not confined by (\w+): ./g)].map(([, layer]) => layer);
    expect(absent.sort()).toEqual(LAYERS.filter(layer => !layers.includes(layer)).sort());
  });
  it('the process of a driver domain has no network, no capability, and does not demand every layer', async context => {
    if (options !== users.at(-1)![1]) context.skip(); // once is enough
    const refused = await host.xl('create', '-q', cfg('storage', { ...DRIVER, confine: '"strict"' }));
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain(
      'confine: a driver domain without a kernel opens its disks, and is not confined\n',
    );
    expect(await host.xl('create', '-q', cfg('storage', DRIVER))).toMatchObject({ exitCode: 0 });
    const serves = (one: number): boolean => commandLine(one).includes('/driver-domain.js --parent');
    const driver = await eventually('it has a process', () => host.processes().find(serves));
    const of = (name: string, process = driver): string => readlinkSync(`/proc/${process}/ns/${name}`);
    if (layers.includes('namespaces')) {
      for (const name of ['user', 'net', 'ipc', 'uts', 'cgroup'])
        expect(of(name)).not.toBe(of(name, host.hypervisorPid));
      expect(readFileSync(`/proc/${driver}/status`, 'latin1')).toMatch(/^CapEff:\t0{16}$/m);
    }
    expect(readFileSync(`/proc/${driver}/environ`, 'latin1')).toMatch(/^XENOLITH_VCPUS=[^\0]*\0$/);
    await eventually('it serves', () => /Z dom\d+: serves$/m.test(host.log()));
    const name = /Z (dom\d+): serves$/m.exec(host.log())![1]!;
    // Whatever it prints, it is said to have said it.
    const forged = `${new Date().toISOString()} xen: warning: forged`;
    if (writeAs(driver, STDERR, `${forged}\n`))
      await eventually('the log has it', () => host.log().includes(` ${name}: ${forged}\n`));
    expect(host.log()).not.toMatch(/^\S+ xen: warning: forged$/m);
    expect(await host.xl('destroy', 'storage')).toMatchObject({ exitCode: 0 });
  });
  it('a domain that demands every layer runs where they are, and else is refused in one line', async () => {
    const { exitCode, stderr } = await host.xl('create', '-q', cfg('strict', { confine: '"strict"' }));
    const missing = LAYERS.filter(layer => !layers.includes(layer));
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

const FILTER = join(root, 'test/package/docker-seccomp.py');
const noDocker = existsSync('/usr/bin/python3') && process.arch === 'x64' ? undefined : 'no python3, or not x86-64';
describe.skipIf(noDocker)(`on a host in a container of Docker${noDocker ? `: ${noDocker}` : ''}`, () => {
  let host: HostRig;
  beforeAll(async () => {
    host = await HostRig.start({ under: ['/usr/bin/python3', FILTER] });
  });
  afterAll(() => host?.stop());

  it('a domain that demands every layer is refused in one line, another one has those that are left', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'xenolith-docker-'));
    const create = (confine: string) => {
      const file = join(dir, 'one.cfg');
      const program = join(import.meta.dirname, 'bystander.ts');
      writeFileSync(
        file,
        `name = "one"\nkernel = "${dist('domu-kernel.js')}"\nmemory = 16\nramdisk = "${program}"\n${confine}`,
      );
      return host.xl('create', '-q', file);
    };
    try {
      const layers: string[] = JSON.parse((await host.xl('info', '--json')).stdout).confinement;
      expect(layers).not.toContain('namespaces');
      expect(host.log()).toMatch(/domains are not confined by namespaces: ./);
      const { exitCode, stderr } = await create('confine = "strict"\n');
      expect(exitCode).not.toBe(0);
      const missing = LAYERS.filter(layer => !layers.includes(layer)).join(', ');
      expect(stderr).toMatch(new RegExp(`^[^\\n]*confine: this host has no ${missing} \\(xl doctor says why\\)\\n$`));
      expect((await host.domains()).map(({ domid }) => domid)).toEqual([0]);
      expect(await create('')).toEqual({ exitCode: 0, stdout: '', stderr: '' });
      await eventually('it runs', () => host.consoleLog('one').includes('beat'));
      const { domid } = (await host.domains()).find(({ name }) => name === 'one')!;
      const status = readFileSync(`/proc/${processOfDomain(domid, host.processes())}/status`, 'latin1');
      if (layers.includes('seccomp')) expect(status).toMatch(/^Seccomp:\t2$/m);
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
  const asNobody = whyNotAsNobody();
  it.skipIf(asNobody)(
    `lets no other user in${asNobody ? `: ${asNobody}` : ', and hangs up where he gets in'}`,
    async () => {
      const { toolstackSocket, xenstoredSocket } = runPaths(host.runDir);
      const sockets = [toolstackSocket, xenstoredSocket];
      const visit = async (): Promise<string[]> => {
        const child = spawn(process.execPath, ['-e', VISITOR, '--', ...sockets], { uid: NOBODY, gid: NOBODY });
        let text = '';
        child.stdout.on('data', chunk => {
          text += chunk;
        });
        await new Promise(resolve => child.on('close', resolve));
        return text.split('\n').slice(0, sockets.length);
      };
      expect(await visit()).toEqual(['EACCES', 'EACCES']);
      chmodSync(host.runDir, 0o711);
      for (const path of sockets) chmodSync(path, 0o666);
      expect(await visit()).toEqual(['hung up', 'hung up']);
      expect((await host.xl('store', 'read', '/local/domain/0/name')).stdout).toBe('Domain-0');
    },
  );
});
