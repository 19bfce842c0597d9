// The guest kernel from start of day to the end, on a simulated host: everything real but the processes.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer } from '#pvbus';
import { filesOn, formattedDisk, mounted } from '../../support/fatfs.ts';
import { dial, readAll, serveOn } from '../../support/host-peer.ts';
import { MemoryDisk } from '../../support/memory-disk.ts';
import { SimulatedHost } from '../../support/simulated-host.ts';

let host: SimulatedHost;
beforeEach(async () => {
  host = await SimulatedHost.start();
});
afterEach(async () => {
  await host.stop();
  expect(host.core.internalErrors).toEqual([]);
});

const cfg = (name: string, ...lines: string[]): string => [`name = "${name}"`, 'memory = 16', ...lines].join('\n');
/** An empty FAT image, as a disk of an xl.cfg. */
function image(name: string): string {
  const path = join(host.dir, name);
  writeFileSync(path, formattedDisk(4 << 20).bytes);
  return path;
}
const disk = (...paths: string[]): string =>
  `disk = [ ${paths.map((path, i) => `"${path},raw,xvd${'abc'[i]},w"`).join(', ')} ]`;
const program = (source: string): string => `ramdisk = "${host.program(source)}"`;
const runs = (name: string, source: string, ...lines: string[]) => host.create(cfg(name, program(source), ...lines));

describe('start of day', () => {
  it('runs init where there is no program, which says what the domain has', async () => {
    const guest = await host.create(cfg('empty', disk(image('a.img'))));
    await guest.says("domain 1 'empty', 16 MiB, no program");
    await guest.says('xvda: 4 MiB');
  });

  it('gives a program its command line, name, domid, and the file system of root=', async () => {
    const path = image('a.img');
    const guest = await runs(
      'one',
      `import { files, system } from 'xenolith';
       export default async () => {
         console.log(system.name, system.domid, system.args.word, files.label());
         files.writeFile('hello', system.cmdline, { sync: true });
         await new Promise(() => {});
       }`,
      disk(path),
      'cmdline = "root=/dev/xvda word=hi"',
    );
    await guest.says('one 1 hi TEST');
    const volume = mounted(new MemoryDisk(new Uint8Array(readFileSync(path))));
    expect(Buffer.from(filesOn(volume).readFile('hello')).toString()).toBe('root=/dev/xvda word=hi');
  });

  it.each([
    ['root=/dev/xvdz', 'this domain has no such disk'],
    ['ip=1.2.3.4', 'this domain has no such network device'],
    ['ip=nonsense', "'nonsense' is no address"],
  ])('fails with the reason when %s makes no sense', async (words, message) => {
    const guest = await runs('bad', 'console.log("never")', `cmdline = "${words}"`, 'on_crash = "preserve"');
    await guest.says(message);
    await guest.says('this domain has crashed');
    expect(guest.console).not.toContain('never');
  });

  it('with watchdog= pokes it, asleep as well', async () => {
    const guest = await runs(
      'poked',
      `import { clock, console } from 'xenolith';
       export default async () => {
         await clock.sleep(60_000);
         console.log('awake');
         await new Promise(() => {});
       }`,
      'extra = "watchdog=2"',
    );
    await host.pass(61_000, 500);
    await guest.says('awake');
    expect((await host.toolstack.list(null)).map(info => info.shutdown)).toEqual([false, false]);
  });
  it.each(['watchdog', 'watchdog=0', 'watchdog=1.5', 'watchdog=soon'])('fails with the reason for %s', async words => {
    const guest = await runs('bad', 'console.log("never")', `extra = "${words}"`, 'on_crash = "preserve"');
    await guest.says('not a number of seconds');
  });

  it('uses all of the memory that the builder left free, and reuses that of the program text', async () => {
    const guest = await runs('memory', `console.log('up', ${JSON.stringify('x'.repeat(100_000))}.length)`);
    await guest.says('up 100000');
    const { frames } = guest.vcpu;
    // 16 MiB are 4096 frames; start_info, two ring pages and the tiny kernel stay.
    expect(frames.available).toBeGreaterThan(4096 - 16);
    expect(frames.available).toBeLessThan(4096 - 3);
  });
});

describe('a program', () => {
  it('has timers and a clock that move with the time of the host', async () => {
    const guest = await runs(
      'timers',
      `import { clock } from 'xenolith';
       const t0 = clock.now();
       setTimeout(() => console.log('timeout', clock.now() - t0), 1500);
       setInterval(() => console.log('beat', Math.round((clock.now() - t0) / 100)), 1000);
       (async () => { await clock.sleep(2200); console.log('slept', clock.now() - t0, new Date(0).getTime()); })();
       console.log('year', new Date().getUTCFullYear());`,
    );
    await guest.says('year 2026');
    await host.pass(3000);
    await guest.says('timeout 1500');
    await guest.says('slept 2200 0');
    expect(guest.console.match(/beat \d+/g)).toEqual(['beat 10', 'beat 20', 'beat 30']);
  });

  it('has the wall clock that its xl.cfg asks for: rtc_timeoffset, and the time zone of the host', async () => {
    const ask = `console.log('now', Date.now())`;
    const plain = await runs('utc', ask);
    const early = await runs('early', ask, 'rtc_timeoffset = "-7200"', 'localtime = 0');
    const zone = process.env.TZ;
    process.env.TZ = 'Asia/Kolkata';
    const local = await runs('local', ask, 'rtc_timeoffset = 60', 'localtime = 1').finally(() => {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    });
    const now = async (guest: typeof plain) => {
      await guest.says(/now \d+/);
      return Number(/now (\d+)/.exec(guest.console)![1]) / 1000;
    };
    // No time passes meanwhile but what the test lets pass.
    const utc = await now(plain);
    expect((await now(early)) - utc).toBeCloseTo(-7200, 0);
    expect((await now(local)) - utc).toBeCloseTo(5.5 * 3600 + 60, 0);
  });

  it('hears its events by the FIFO ABI when its command line says so', async () => {
    const guest = await runs(
      'fifo',
      `import { clock } from 'xenolith';
       console.log('up');
       export default async function main() { await clock.sleep(100); console.log('slept'); await clock.sleep(1e6); }`,
      'extra = "xen.fifo_events=1"',
    );
    await guest.says('up');
    expect(guest.guest.domain.eventAbi.nrPorts).toBe(2 ** 17);
    expect(guest.kernel!.fifoDirectory).toBeGreaterThan(0);
    await host.pass(200);
    await guest.says('slept');
    const plain = await runs('no-fifo', `console.log('up')`, 'on_poweroff = "preserve"');
    await plain.says('up');
    expect(plain.guest.domain.eventAbi.nrPorts).toBe(4096);
  });

  it('powers the domain off when its main function returns, hooks first', async () => {
    const guest = await runs(
      'ends',
      `import { clock, system } from 'xenolith';
       export default async function main() {
         system.onShutdown(() => console.log('first added'));
         system.onShutdown(async () => { await clock.sleep(10); console.log('last added'); });
         console.log('main');
       }`,
      'on_poweroff = "preserve"',
    );
    await guest.says('main');
    await host.pass(1000);
    await host.until(() => guest.stopped);
    expect(guest.console).toBe('main\nlast added\nfirst added\n');
    const [info] = await host.run(host.toolstack.list(guest.domid));
    expect(info).toMatchObject({ shutdown: true, shutdown_reason: 0 });
  });

  it.each([
    ['poweroff', 0],
    ['reboot', 1],
  ] as const)('hears of xl shutdown: %s', async (how, reason) => {
    const guest = await runs(
      'asked',
      `import { system } from 'xenolith';
       system.onShutdown(() => console.log('hook'));
       console.log('up');`,
      'on_poweroff = "preserve"',
      'on_reboot = "preserve"',
    );
    await guest.says('up');
    await host.run(host.toolstack.shutdown(guest.domid, how));
    await host.until(() => guest.stopped);
    expect(guest.console).toBe('up\nhook\n');
    const [info] = await host.run(host.toolstack.list(guest.domid));
    expect(info!.shutdown_reason).toBe(reason);
  });

  it('whose hooks never end is shut down all the same, after a while', async () => {
    const guest = await runs(
      'stuck',
      `import { system } from 'xenolith';
       system.onShutdown(() => new Promise(() => {}));
       system.onShutdown(() => { throw new Error('a bad hook'); });
       console.log('up');
       system.shutdown();`,
      'on_poweroff = "preserve"',
    );
    await guest.says('a bad hook');
    await host.pass(9000);
    expect(guest.stopped).toBe(false);
    await host.pass(2000);
    expect(guest.stopped).toBe(true);
    expect(guest.console).toContain('hooks take longer than 10 s');
  });

  it.each([
    ['its top level', `throw new Error('boom 42');`],
    ['its main function', `export default async () => { throw new Error('boom 42'); }`],
    ['a timer', `setTimeout(() => { throw new Error('boom 42'); }, 1); console.log('timer set');`],
    ['what it imports', `import fs from 'node:fs'; fs.readFileSync('boom 42');`],
  ])('that throws out of %s is the crash of its domain, with the message on its console', async (where, source) => {
    if (where === 'what it imports') {
      // The bundler refuses it before there is a domain.
      await expect(runs('crash', source)).rejects.toThrow(/node:fs/);
      return;
    }
    const guest = await runs('crash', source, 'on_crash = "preserve"');
    if (where === 'a timer') await guest.says('timer set');
    await host.pass(100);
    await guest.says('boom 42');
    await guest.says('this domain has crashed');
    await host.until(() => guest.crash !== undefined);
    const [info] = await host.run(host.toolstack.list(guest.domid));
    expect(info).toMatchObject({ shutdown: true, shutdown_reason: 3 });
  });

  it('reads and writes its own part of xenstore, and hears of changes', async () => {
    const guest = await runs(
      'store',
      `import { system } from 'xenolith';
       export default async () => {
         await system.store.write('data/mine', 'value');
         console.log(await system.store.read('name'), await system.store.read('data/mine'));
         console.log(await system.store.list('data'));
         await system.store.watch('data/asked', async () =>
           console.log('asked', await system.store.read('data/asked').catch(e => e.code)));
         await system.store.read('/local/domain/0/name').catch(e => console.log('forbidden', e.code));
         await new Promise(() => {});
       }`,
    );
    await guest.says('store value');
    await guest.says('asked ENOENT');
    await host.run(host.xs.write('/local/domain/1/data/asked', 'now'));
    await guest.says('asked now');
  });

  it('reads lines typed at its console', async () => {
    const guest = await runs(
      'echo',
      `import { console } from 'xenolith';
       export default async () => {
         const name = await console.readLine('name? ');
         console.log('hello', name);
         for await (const line of console.lines()) console.log('line', line);
       }`,
      'on_poweroff = "preserve"',
    );
    await guest.says('name?');
    const { connect } = await import('node:net');
    const terminal = connect(host.toolstackConsole(guest.domid));
    terminal.write('world\ra\rb\r\x04');
    await guest.says('hello world');
    await guest.says('line b');
    await host.until(() => guest.stopped);
    terminal.destroy();
  });

  it('that fills its console does not wait for a reader', async () => {
    const guest = await runs('loud', `for (let i = 0; i < 20000; i++) console.log('line', i); console.log('done');`);
    await host.until(() => guest.kernel !== undefined && guest.console.includes('line 100\n'));
    await host.rest(100);
    expect(guest.console.startsWith('line 0\nline 1\n')).toBe(true);
  });
});

describe('a key of xl sysrq', () => {
  const idle = `import { system } from 'xenolith';
    export default async () => {
      system.onShutdown(() => console.log('asked'));
      console.log('up');
      await new Promise(() => {});
    }`;
  const press = async (domid: number, letter: string): Promise<void> => {
    const path = `/local/domain/${domid}/control/sysrq`;
    await host.run(host.xs.write(path, letter));
    const taken = async (): Promise<void> => {
      while ((await host.xs.read(path)) !== '') await new Promise(resolve => setImmediate(resolve));
    };
    await host.run(taken());
  };

  it.each([
    ['b', 'Resetting', 1],
    ['o', 'Power Off', 0],
    ['c', 'Trigger a crash', 3],
  ] as const)('%s ends it at once: %s', async (letter, says, reason) => {
    const config = ['on_reboot="preserve"', 'on_poweroff="preserve"', 'on_crash="preserve"'];
    const guest = await runs('web', idle, ...config);
    await guest.says('up');
    await host.run(host.xs.write(`/local/domain/${guest.domid}/control/sysrq`, letter));
    await guest.says(`sysrq: ${says}`);
    await host.rest();
    const [info] = await host.run(host.toolstack.list(guest.domid));
    expect(info).toMatchObject({ shutdown: true, shutdown_reason: reason });
    expect(host.consoleLog('web')).not.toContain('asked');
  });
  it('m, s and h say something and the domain goes on; the node is emptied each time', async () => {
    const guest = await runs('web', idle);
    await guest.says('up');
    await press(guest.domid, 'm');
    await guest.says(/sysrq: Show Memory\n.*Mem-Info: 4096 pages RAM, [0-9]+ pages free, 0 volumes mounted/);
    await press(guest.domid, 's');
    await guest.says('Emergency Sync complete');
    await press(guest.domid, 'h');
    await guest.says('sysrq: HELP : reboot(b) crash(c) show-memory-usage(m) poweroff(o) sync(s) show-task-states(t)');
    const [info] = await host.run(host.toolstack.list(guest.domid));
    expect(info).toMatchObject({ shutdown: false });
  });
});

describe('devices of a program', () => {
  it('let a call wait in peace: timers that are due meanwhile do not wake it again and again', async () => {
    const guest = await runs('waits', 'export default () => new Promise(() => {});', disk(image('a.img')));
    await host.until(() => guest.kernel?.devices.disks().length === 1);
    await host.rest();
    const kernel = guest.kernel!;
    const ops: number[] = [];
    const hypercall = guest.vcpu.hypercall.bind(guest.vcpu);
    guest.vcpu.hypercall = (nr, ...args) => {
      if (nr === __HYPERVISOR_vcpu_op) ops.push(args[0]!);
      return hypercall(nr, ...args);
    };
    kernel.timers.after(0, () => {});
    for (let i = 0; i < 10; i++) kernel.devices.disks()[0]!.read(0, new Uint8Array(512));
    const look = VCPUOP_set_singleshot_timer; // in a second, whatever is notified: asked for once
    expect(ops).toEqual([look]);
    kernel.arm();
    expect(ops).toEqual([look, VCPUOP_set_singleshot_timer]);
  });

  it('are disks, raw and as file systems, several at a time', async () => {
    const guest = await runs(
      'disks',
      `import { disks, files } from 'xenolith';
       export default async () => {
         console.log([...disks].map(d => d.name).join());
         const raw = disks.get('/dev/xvdb');
         const sector = new Uint8Array(512).fill(9);
         raw.write(100, sector);
         const back = new Uint8Array(512);
         await raw.submitRead(100, back);
         console.log('raw', back[511]);
         files.format('xvdb', { label: 'FRESH' });
         const other = files.mount('xvdb');
         const big = new Uint8Array(200000).map((_, i) => i * 7);
         other.writeFile('big', big, { sync: true });
         const again = other.readFile('big');
         console.log(other.label(), again.length, again.every((b, i) => b === big[i]));
         try { files.format('xvdb'); } catch (e) { console.log(e.code); }
         try { disks.get('xvdz'); } catch (e) { console.log(e.code, e.message); }
         try { files.readFile('x'); } catch (e) { console.log(e.code); }
         try { files.mount('xvda', { readOnly: true }).writeFile('x', 'y'); } catch (e) { console.log(e.code); }
         await new Promise(() => {});
       }`,
      disk(image('a.img'), image('b.img')),
    );
    await guest.says('xvda,xvdb');
    await guest.says('raw 9');
    await guest.says('FRESH 200000 true');
    await guest.says("EBUSY\nENODEV no disk 'xvdz'; this domain has xvda, xvdb\nENODEV\nEROFS\n");
  });

  it('are network interfaces: two guests ping each other and exchange datagrams', async () => {
    const a = await runs(
      'a',
      `import { net } from 'xenolith';
       export default async () => {
         const socket = net.udp(7);
         console.log('ready', net.address, net.mac, net.mtu);
         for await (const { data, address, port } of socket) socket.send(data, address, port);
       }`,
      'vif = [ "mac=00:16:3e:00:00:01" ]',
      'cmdline = "ip=10.0.0.1:::255.255.255.0"',
    );
    await a.says('ready 10.0.0.1 00:16:3e:00:00:01 1500');
    const b = await runs(
      'b',
      `import { net } from 'xenolith';
       export default async () => {
         const { seq } = await net.ping('10.0.0.1');
         console.log('pong', seq);
         const socket = net.udp();
         socket.send('echo me', '10.0.0.1', 7);
         console.log(new TextDecoder().decode((await socket.receive()).data));
         await net.ping('10.0.0.77', { timeoutMs: 5000 }).catch(e => console.log(e.code));
         await socket.receive({ timeoutMs: 100 }).catch(e => console.log(e.code));
         await new Promise(() => {});
       }`,
      'vif = [ "mac=00:16:3e:00:00:02" ]',
      'cmdline = "ip=10.0.0.2:::255.255.255.0"',
    );
    await b.says('pong 1');
    await b.says('echo me');
    await host.pass(8000, 500);
    await b.says('EHOSTUNREACH\nETIMEDOUT');
  });

  it('are sockets of the host, and an HTTP server on them', async () => {
    const { port, server } = await serveOn(socket => socket.pipe(socket));
    const guest = await runs(
      'web',
      `import { host, http } from 'xenolith';
       export default async () => {
         const back = await host.connect(${port});
         await back.write('through the host');
         console.log(new TextDecoder().decode(await back.read()));
         await back.close();
         await host.connect(1).catch(e => console.log(e.code));
         await host.listen(81).catch(e => console.log(e.code));
         await http.serve(80, ({ path, text }) => path + ' ' + text());
         console.log('serving');
         await new Promise(() => {});
       }`,
      `pvcalls = [ "listen=0:80,connect=${port}" ]`,
    );
    await guest.says('through the host\nEACCES\nEACCES\nserving');
    const path = `/local/domain/0/backend/pvcalls/${guest.domid}/0/listening-80`;
    await host.run(
      (async () => {
        while (!(await host.xs.exists(path)));
      })(),
    );
    const socket = await dial(Number(await host.run(host.xs.read(path))));
    socket.end('POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
    expect((await host.run(readAll(socket))).toString()).toMatch(/^HTTP\/1\.1 200 OK.*\/x ok$/s);
    server.close();
  });

  it('deliver to the host what they have written when they end at once, and do not wait for ever for who does not read', async () => {
    const counts: number[] = [];
    const taker = await serveOn(socket => {
      let bytes = 0;
      socket.on('data', part => {
        bytes += part.length;
      });
      socket.on('end', () => counts.push(bytes));
    });
    const sleeper = await serveOn(socket => socket.pause());
    const giver = (name: string, port: number, rest: number) =>
      runs(
        name,
        `import { host } from 'xenolith';
         export default async () => {
           const connection = await host.connect(${port});
           await connection.write(new Uint8Array(1000));
           void connection.write(new Uint8Array(${rest})).catch(() => {});
           console.log('ending');
         }`,
        `pvcalls = [ "connect=${port}" ]`,
        'on_poweroff = "preserve"',
      );
    const one = await giver('giver', taker.port, 3 << 20);
    await host.until(
      () => counts.length > 0,
      () => `the end at the host; the guest said ${one.console}`,
    );
    expect(counts).toEqual([1000 + (3 << 20)]);
    await host.until(
      () => one.stopped,
      () => 'its end',
    );
    const other = await giver('patient', sleeper.port, 64 << 20);
    await other.says('ending');
    await host.rest();
    expect(other.stopped).toBe(false);
    await host.pass(1100);
    await host.rest();
    expect(other.stopped).toBe(true);
    taker.server.close();
    sleeper.server.close();
  });

  it('say what the configuration lacks when they are not there', async () => {
    const guest = await runs(
      'bare',
      `import { disks, host, net } from 'xenolith';
       export default async () => {
         console.log([...disks].length, net.address);
         try { net.udp(); } catch (e) { console.log(e.message); }
         await host.listen(80).catch(e => console.log(e.message));
         await new Promise(() => {});
       }`,
    );
    await guest.says('0 undefined');
    await guest.says('give it a vif and ip=');
    await guest.says('give it pvcalls =');
  });
});
