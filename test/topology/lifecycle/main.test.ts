// The life of domains on a real host: created, paused, shut down, rebooted, crashed, killed, destroyed.
// Whatever happens to one, nothing of it is left and the others do not notice.
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { encodeFrame, runPaths, SHUTDOWN_crash, SHUTDOWN_poweroff, SHUTDOWN_watchdog, XenError } from '#pvbus';
import { hostEvents } from '../../../tools/host-events.ts';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { type Inventory, inventoryAtRest, settled } from '../../support/inventory.ts';
import { eventually, isAlive, processOfDomain } from '../../support/processes.ts';
import { disk, net } from '../../unit/dom0/toolstack/domain-config.ts';
import { GUEST, KERNEL, LifecycleHost } from './host.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-lifecycle-'));
let host: LifecycleHost;
let empty: Inventory;
beforeAll(async () => {
  host = await LifecycleHost.start();
  empty = await inventoryAtRest(host.rig);
});
afterEach(async () => {
  const guests = async () => (await host.list()).filter(info => info.domid !== 0);
  for (let left = await guests(); left.length > 0; left = await guests()) {
    await Promise.allSettled(left.map(({ domid }) => host.destroy(domid)));
  }
  expect(await settled(host.rig, empty)).toEqual(empty);
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});
const image = (name: string, bytes = 1 << 20): string => {
  const path = join(dir, name);
  writeFileSync(path, '');
  truncateSync(path, bytes);
  return path;
};

describe('a domain', () => {
  it('is created, runs, and is destroyed', async () => {
    const domid = await host.create(host.config('one', 'idle'));
    await host.up('one');
    expect(await host.info(domid)).toMatchObject({ name: 'one', current_kb: 16384, vcpu_online: 1, dying: false });
    await host.destroy(domid);
    expect(await host.info(domid)).toBeUndefined();
  });

  it('reports each phase of its creation, in order, with its time', async () => {
    const phases: string[] = [];
    const config = host.config('phases', 'idle');
    await host.toolstack.call('create', { config, paused: false, monitor: true }, event => {
      if (event.event === 'phase') {
        phases.push(event.phase);
        expect(event.ms).toBeGreaterThanOrEqual(0);
      }
    });
    expect(phases).toEqual(['config', 'domain', 'memory', 'xenstore', 'introduce', 'devices', 'unpause']);
  });

  it('has its domid by the order of asking among those that are made at once; one that fails holds nobody up', async () => {
    const made = (name: string): Promise<number> => host.create(host.config(name, 'idle'), { paused: true });
    const bad = host.create({ ...host.config('bad', 'idle'), kernel: '/nonexistent' });
    const domids = ['first', 'second', 'third'].map(made);
    await expect(bad).rejects.toMatchObject({ code: 'ENOENT' });
    const [first, ...others] = await Promise.all(domids);
    expect(others).toEqual([first! + 1, first! + 2]);
  });

  it('that is created paused runs nothing until it is unpaused', async () => {
    const domid = await host.create(host.config('held', 'idle'), { paused: true });
    expect(await host.info(domid)).toMatchObject({ paused: true, running: false });
    await new Promise(resolve => setTimeout(resolve, 300));
    expect(host.rig.consoleLog('held')).toBe('');
    await host.toolstack.call('unpause', { domid });
    await host.up('held');
    expect(await host.info(domid)).toMatchObject({ paused: false });
  });

  it('that is paused uses no time of the processor, and goes on where it was', async () => {
    const domid = await host.create(host.config('spinning', 'spin'));
    await host.up('spinning');
    await host.toolstack.call('pause', { domid });
    const first = (await host.info(domid))!;
    expect(first.paused).toBe(true);
    await new Promise(resolve => setTimeout(resolve, 200));
    const second = (await host.info(domid))!;
    expect(second.cpu_time - first.cpu_time).toBeLessThan(20e6);
    await host.toolstack.call('unpause', { domid });
    await eventually('it runs on', async () => (await host.info(domid))!.cpu_time > second.cpu_time + 20e6);
  });

  it('that is gone leaves the hypervisor no address space, however many there were', async () => {
    const gib = (): number => {
      const [, kib] = /^VmSize:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${host.rig.hypervisorPid}/status`, 'utf8'))!;
      return Number(kib) / 2 ** 20;
    };
    // Of what the hypervisor views ahead, 1 GiB, each takes more than half.
    const rounds = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++)
        await host.destroy(await host.create(host.config('large', 'idle', { memory: 600 }), { paused: true }));
    };
    await rounds(2);
    const before = gib();
    await rounds(8);
    // It clears away when nothing has been created for a while.
    await eventually('it has what it had', () => gib() - before < 2);
  });

  it('takes note of a request to shut down, ends, and is cleared away', async () => {
    const domid = await host.create(host.config('obedient', 'idle'));
    await host.up('obedient');
    const ended = host.toolstack.call('wait', { domid, until: 'shutdown' });
    const gone = host.toolstack.call('wait', { domid, until: 'destroyed' });
    await host.toolstack.call('shutdown', { domid });
    expect(await ended).toEqual({ what: 'shutdown', reason: SHUTDOWN_poweroff, exitCode: null });
    expect(await gone).toEqual({ what: 'destroyed', reason: null, exitCode: null });
    expect(host.rig.consoleLog('obedient')).toContain('going down');
    await host.logged(`domain 'obedient' (dom${domid}) has shut down; on_poweroff=destroy`);
    expect(await host.info(domid)).toBeUndefined();
  });

  it('that is rebooted comes back under another domid', async () => {
    const domid = await host.create(host.config('again', 'idle'));
    await host.up('again');
    await host.toolstack.call('reboot', { domid });
    await host.up('again', 2);
    const { domid: next } = await host.toolstack.call('domid', { name: 'again' });
    expect(next).toBeGreaterThan(domid);
    expect(await host.info(domid)).toBeUndefined();
  });

  it('whose program returns powers off', async () => {
    const domid = await host.create(host.config('brief', 'return'));
    expect(await host.toolstack.call('wait', { domid, until: 'destroyed' })).toMatchObject({ what: 'destroyed' });
    expect(host.rig.consoleLog('brief')).toContain('brief is up');
  });

  it.each([
    ['throws', 'throw', 'Error: out of teapots'],
    ['leaves a rejection', 'reject', 'Error: a promise nobody watches'],
  ])('whose program %s has crashed, and the log says with what words', async (_how, doing, words) => {
    const name = `crash-${doing}`;
    const domid = await host.create(host.config(name, doing, { on_crash: 'preserve' }));
    await host.logged(`domain '${name}' (dom${domid}) has crashed: ${words}; on_crash=preserve`);
    expect(await host.info(domid)).toMatchObject({ shutdown: true, shutdown_reason: SHUTDOWN_crash, name });
    expect(host.rig.consoleLog(name)).toContain(words);
  });

  it('that crashes is restarted when its config says so', async () => {
    const disks = [disk({ target: image('phoenix') })];
    const domid = await host.create(host.config('phoenix', 'throw-once', { on_crash: 'restart', disks }));
    await host.up('phoenix', 2);
    const { domid: now } = await host.toolstack.call('domid', { name: 'phoenix' });
    expect(now).toBeGreaterThan(domid);
  });

  it('that crashes is kept under another name when its config says so, and started anew with its disk', async () => {
    const disks = [disk({ target: image('kept') })];
    const config = host.config('kept', 'throw-once', { on_crash: 'rename-restart', disks });
    const domid = await host.create(config);
    await host.up('kept', 2);
    const { name } = await host.toolstack.call('domname', { domid });
    expect(name).toMatch(/^kept-\d{8}T\d{4}Z$/);
    expect(await host.info(domid)).toMatchObject({ shutdown: true });
    expect((await host.list()).map(info => info.name).sort()).toEqual(['Domain-0', 'kept', name].sort());
  });

  it('whose process is killed has crashed; the other domains did not notice', async () => {
    const other = await host.create(host.config('other', 'echo'));
    await host.up('other');
    const domid = await host.create(host.config('victim', 'idle', { on_crash: 'preserve' }));
    await host.up('victim');
    process.kill(processOfDomain(domid, host.rig.processes()), 'SIGKILL');
    await host.logged(`domain 'victim' (dom${domid}) has crashed: its process ended: killed by SIGKILL`);
    expect(await host.info(domid)).toMatchObject({ shutdown: true, shutdown_reason: SHUTDOWN_crash });
    expect(await host.info(other)).toMatchObject({ shutdown: false });
  });

  it('fault 39: that hangs is ended by its watchdog, and what its config says of that is done', async () => {
    const config = host.config('hung', 'spin', { cmdline: 'doing=spin watchdog=1', on_watchdog: 'preserve' });
    const domid = await host.create(config);
    await host.logged(`domain 'hung' (dom${domid}) has`, 'on_watchdog=preserve');
    expect(await host.info(domid)).toMatchObject({ shutdown: true, shutdown_reason: SHUTDOWN_watchdog });
  });

  it('fault 44: that is destroyed twice at once is destroyed once', async () => {
    const domid = await host.create(host.config('twice', 'idle'));
    const [a, b] = await Promise.allSettled([host.destroy(domid), host.destroy(domid)]);
    expect([a.status, b.status]).toContain('fulfilled');
    expect(await host.info(domid)).toBeUndefined();
    const ends = (await hostEvents(host.toolstack)).filter(
      event => event.event === 'domain' && event.domid === domid && event.what === 'destroyed',
    );
    expect(ends).toHaveLength(1);
  });

  it('with a disk and a vif is served by both backends, and lets go of both', async () => {
    const target = image('written');
    const config = host.config('equipped', 'write', { disks: [disk({ target })], vifs: [net()] });
    const domid = await host.create(config);
    await eventually('the guest has written', () => host.rig.consoleLog('equipped').includes('flushed'));
    expect(readFileSync(target).subarray(0, 18).toString()).toBe('written by a guest');
    await eventually(
      'the vif is connected',
      async () => (await host.xs.read(`/local/domain/0/backend/vif/${domid}/0/state`)) === '4',
    );
    await host.destroy(domid);
  });

  it('has a console that carries bytes both ways, and shows what was said before', async () => {
    const domid = await host.create(host.config('talk', 'echo'));
    await host.up('talk');
    const { path } = await host.toolstack.call('console', { domid });
    const socket = connect(path);
    let got = '';
    socket.on('data', bytes => {
      got += bytes;
    });
    await once(socket, 'connect');
    await eventually('the first words', () => got.includes('talk is up'));
    socket.write('hello\n');
    await eventually('the answer', () => got.includes('you said hello'));
    await host.destroy(domid);
    await eventually('the end', () => socket.readableEnded || socket.destroyed);
    expect(existsSync(path)).toBe(false);
  });
});

describe('a config that cannot be built', () => {
  const refused = async (over: Parameters<LifecycleHost['config']>[2], name = 'bad'): Promise<XenError> => {
    const error = await host.create(host.config(name, 'idle', over)).then(
      () => undefined,
      e => e as XenError,
    );
    expect(error).toBeInstanceOf(XenError);
    expect(error!.message).not.toContain('\n');
    // Not even for a moment was there anything.
    expect(await settled(host.rig, empty)).toEqual(empty);
    return error!;
  };

  it.each([
    ['a missing kernel', { kernel: '/nowhere/k.js' }, 'ENOENT', 'bad.cfg: kernel: /nowhere/k.js does not exist'],
    ['a missing program', { ramdisk: '/nowhere/p.ts' }, 'ENOENT', 'bad.cfg: ramdisk: /nowhere/p.ts does not exist'],
    [
      'a missing disk',
      { disks: [disk({ target: '/nowhere/d.img' })] },
      'ENOENT',
      'bad.cfg: disk xvda: /nowhere/d.img does not exist',
    ],
    [
      'a disk that is a folder',
      { disks: [disk({ target: '/tmp' })] },
      'EINVAL',
      'bad.cfg: disk xvda: /tmp is neither a file nor a block device',
    ],
    [
      'a disk that no NBD server has',
      { disks: [disk({ target: 'nbd:nowhere' })] },
      'EINVAL',
      /^bad\.cfg: disk xvda: nbd:nowhere is no NBD target; expected nbd:unix:PATH/,
    ],
    [
      'an unknown backend',
      { disks: [disk({ backend: 'nobody', target: KERNEL })] },
      'ENOENT',
      `bad.cfg: disk xvda: backend domain 'nobody' does not exist`,
    ],
    [
      'more memory than the host has',
      { memory: 1 << 24 },
      'ENOMEM',
      // Or more than any domain has, where the engine's buffers end at 4 GiB.
      /^bad.cfg: memory: 16777216 MiB(, a domain has at most \d+ with Node \S+| asked for, \d+ MiB of this host are free(, and its guests did not give \d+ MiB)?)$/,
    ],
    [
      'a maxmem below memory',
      { memory: 32, maxmem: 16 },
      'EINVAL',
      'bad.cfg: maxmem: 16 MiB is less than memory, 32 MiB',
    ],
    ['a long command line', { cmdline: 'x'.repeat(1024) }, 'EINVAL', 'bad.cfg: cmdline: 1024 bytes, at most 1023 fit'],
    ['an empty name', { name: '' }, 'EINVAL', 'bad.cfg: name: it is empty'],
    ['a cpupool that is not there', { pool: 'fast' }, 'EINVAL', `bad.cfg: pool: there is no cpupool 'fast'`],
    [
      'a type this host has not',
      { type: 'hvm' as const },
      'EINVAL',
      `bad.cfg: type: 'hvm': this host builds pv domains only`,
    ],
    [
      'one vdev twice',
      { disks: [disk({ target: KERNEL }), disk({ target: GUEST })] },
      'EINVAL',
      'bad.cfg: disk: xvda is there twice',
    ],
  ] as const)('because of %s is refused in one line, and nothing is left', async (_what, over, code, message) => {
    const error = await refused(over as Parameters<LifecycleHost['config']>[2]);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(
      message instanceof RegExp ? message : new RegExp(`^${message.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`),
    );
  });

  it("because its backend refuses the disk is refused with the backend's words, and all that was made is undone", async () => {
    const target = image('short', 100);
    const error = await refused({ disks: [disk({ target })] });
    expect(error.message).toContain(`its image ${target} has no whole sector`);
  });

  it('because kernel and program do not fit its memory says how much would', async () => {
    const ramdisk = join(dir, 'large.cjs');
    writeFileSync(ramdisk, `//${'x'.repeat(3 << 20)}`);
    expect((await refused({ ramdisk, memory: 2 })).message).toMatch(
      /^bad.cfg: memory: 2 MiB do not hold kernel and ramdisk, [45] MiB would$/,
    );
  });

  it('because its program cannot be bundled names file and line', async () => {
    const ramdisk = join(dir, 'broken.ts');
    writeFileSync(ramdisk, `import 'node:fs';\n`);
    expect((await refused({ ramdisk })).message).toBe(
      `bad.cfg: ramdisk: ${ramdisk} cannot be bundled: ${ramdisk}:1: Could not resolve "node:fs"`,
    );
  });
});

describe('a tool', () => {
  /** Send bytes as they are; what came back until the toolstack closed the connection. */
  const raw = async (bytes: Uint8Array): Promise<Buffer> => {
    const socket = connect(runPaths(host.rig.runDir).toolstackSocket);
    const got: Buffer[] = [];
    socket.on('data', chunk => got.push(chunk));
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.write(bytes);
    await once(socket, 'close');
    return Buffer.concat(got);
  };
  it.each([
    ['another version', Buffer.from([99, 1, 0, 0, 0xc0])],
    ['a frame longer than any may be', Buffer.from([1, 0xff, 0xff, 0xff])],
    ['bytes that are no MessagePack', Buffer.from([1, 1, 0, 0, 0xc1])],
    ['a request without an id', encodeFrame({ op: 'list' })],
    ['random bytes', Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251))],
  ])('that sends %s is cut off, and the others are served', async (_what, bytes) => {
    expect(await raw(bytes)).toEqual(Buffer.alloc(0));
    expect((await host.list()).length).toBe(1);
  });

  it('that asks for what there is not, or asks it wrongly, is told so', async () => {
    const call = host.toolstack.call.bind(host.toolstack) as (op: string, args: unknown) => Promise<unknown>;
    await expect(call('nonsense', {})).rejects.toMatchObject({ code: 'ENOSYS' });
    await expect(call('pause', {})).rejects.toThrow('pause.domid: expected an integer');
    await expect(call('pause', { domid: 4711 })).rejects.toMatchObject({
      code: 'ESRCH',
      message: 'there is no dom4711',
    });
    await expect(call('destroy', { domid: 0, force: true })).rejects.toThrow('domain 0 cannot be destroyed');
    await expect(call('domid', { name: 'nobody' })).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(call('list', { domid: 4711 })).rejects.toMatchObject({ code: 'ESRCH' });
    await expect(call('unpause', { domid: 0 })).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('that goes away while its domain is being built leaves a whole domain behind', async () => {
    const other = await ToolstackClient.connect(runPaths(host.rig.runDir).toolstackSocket);
    const config = host.config('orphan', 'idle');
    other.call('create', { config, paused: false, monitor: true }).catch(() => {});
    await new Promise(resolve => setImmediate(resolve));
    other.close();
    await host.up('orphan');
    expect(await host.toolstack.call('domid', { name: 'orphan' })).toBeDefined();
  });

  it('that waits hears of the end; one that went away is forgotten', async () => {
    const other = await ToolstackClient.connect(runPaths(host.rig.runDir).toolstackSocket);
    const domid = await host.create(host.config('awaited', 'idle'));
    other.call('wait', { domid, until: 'destroyed' }).catch(() => {});
    other.close();
    const wait = host.toolstack.call('wait', { domid, until: 'destroyed' });
    await host.destroy(domid);
    expect(await wait).toEqual({ what: 'destroyed', reason: null, exitCode: null });
    expect(await host.toolstack.call('wait', { domid, until: 'destroyed' })).toEqual({
      what: 'destroyed',
      reason: null,
      exitCode: null,
    });
  });

  it('that subscribed hears of every domain', async () => {
    host.events.length = 0;
    const domid = await host.create(host.config('heard', 'return'));
    await eventually('its end', () => host.events.some(event => event.domid === domid && event.what === 'destroyed'));
    const every = { event: 'domain', at: expect.any(Number), domid, name: 'heard', reason: null, exitCode: null };
    expect(host.events.filter(event => event.domid === domid)).toEqual([
      { ...every, what: 'created' },
      { ...every, what: 'shutdown', reason: SHUTDOWN_poweroff },
      { ...every, what: 'destroyed' },
    ]);
  });

  it("sees the hypervisor's words, and may clear them", async () => {
    const domid = await host.create(host.config('noted', 'idle'));
    await host.destroy(domid);
    const { text } = await host.toolstack.call('dmesg', { clear: true });
    expect(text).toContain(`(XEN) dom${domid}: gone`);
    expect((await host.toolstack.call('dmesg', { clear: false })).text).not.toContain(`dom${domid}: gone`);
  });
});

describe('a name', () => {
  it('fault 44: belongs to one domain; who comes second is refused, also when both come at once', async () => {
    const results = await Promise.allSettled([
      host.create(host.config('same', 'idle')),
      host.create(host.config('same', 'idle')),
    ]);
    const failed = results.filter(result => result.status === 'rejected');
    expect(failed).toHaveLength(1);
    expect(failed[0]!.reason).toMatchObject({ code: 'EEXIST' });
    await expect(host.create(host.config('same', 'idle'))).rejects.toThrow(
      /^same.cfg: name: a domain 'same' exists already \(domid \d+\)$/,
    );
  });

  it('and a uuid and a disk too', async () => {
    const target = image('shared');
    const first = host.config('first', 'idle', { disks: [disk({ target })] });
    await host.create(first);
    await expect(host.create(host.config('second', 'idle', { uuid: first.uuid }))).rejects.toMatchObject({
      code: 'EEXIST',
    });
    await expect(host.create(host.config('second', 'idle', { disks: [disk({ target })] }))).rejects.toThrow(
      `second.cfg: disk xvda: ${target} is in use: domain 'first' writes it as xvda`,
    );
  });
});

describe('a host in mediated mode', () => {
  it('has domains that live and die the same', async () => {
    const other = await LifecycleHost.start({ mediated: true });
    try {
      const before = await inventoryAtRest(other.rig);
      const config = other.config('slow', 'write', { disks: [disk({ target: image('mediated') })], vifs: [net()] });
      const domid = await other.create(config);
      await eventually('the guest has written', () => other.rig.consoleLog('slow').includes('flushed'));
      await other.toolstack.call('shutdown', { domid });
      await other.toolstack.call('wait', { domid, until: 'destroyed' });
      expect(await settled(other.rig, before)).toEqual(before);
    } finally {
      await other.stop();
    }
  });
});

describe('a host that is shut down', () => {
  it('ends its domains, then itself; nothing is left', async () => {
    const other = await LifecycleHost.start();
    const all = other.rig.processes();
    const config = other.config('last', 'idle');
    await other.create(config);
    await other.up('last');
    other.ending();
    await other.toolstack.call('shutdownHost', {});
    expect(await other.rig.ended).toBe(0);
    await eventually('every process has ended', () => !all.some(isAlive));
    expect(existsSync(runPaths(other.rig.runDir).toolstackSocket)).toBe(false);
    await other.stop();
  });
});
