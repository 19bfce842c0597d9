// A machine of QEMU on a bridge, by its stream socket: the firmware of its network card has a TCP/IP of its own.
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostRig } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';
import { xl } from '../../support/xl.ts';
import { KERNEL } from '../../topology/lifecycle/host.ts';

const GATEWAY = fileURLToPath(new URL('../../../examples/gateway/gateway.ts', import.meta.url));
const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const QEMU = 'qemu-system-x86_64';
const why =
  spawnSync(QEMU, ['-version']).status === 0 ? undefined : `there is no ${QEMU}: apt-get install qemu-system-x86`;

describe.skipIf(why !== undefined)(`a machine of QEMU${why ? ` (skipped: ${why})` : ''}`, () => {
  let dir: string;
  let host: HostRig;
  let machine: ChildProcessWithoutNullStreams;
  let screen = '';
  const on = (...argv: string[]) => xl(argv, { dir: host.runDir, cwd: dir });
  const create = async (name: string, program: string, vif: string, cmdline: string, more = ''): Promise<void> => {
    const text = `name = "${name}"\nkernel = "${KERNEL}"\nramdisk = "${program}"\nmemory = 32\nvif = [ "${vif}" ]\n`;
    writeFileSync(join(dir, `${name}.cfg`), `${text}cmdline = "${cmdline}"\n${more}`);
    expect(await on('create', `${name}.cfg`)).toMatchObject({ code: 0 });
  };
  const shows = (text: string): Promise<unknown> => eventually(`it shows '${text}'`, () => screen.includes(text));
  /** Its keyboard holds 15 keys: each is typed when the one before is on the screen. */
  async function type(line: string): Promise<void> {
    for (const key of line) {
      const before = screen.length;
      machine.stdin.write(key);
      await eventually(`the key ${key}`, () => screen.length > before);
    }
    screen = '';
    machine.stdin.write('\r');
  }

  /** Its own waits are short: where this machine has other work, a command may have to be given again. */
  async function says(command: string, text: string): Promise<void> {
    for (let tries = 0; tries < 3; tries++) {
      await type(command);
      await eventually(`the end of ${command}`, () => screen.includes('iPXE> '));
      if (screen.includes(text)) return;
    }
    throw new Error(`${command}: no '${text}' in ${screen}`);
  }

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'xenolith-qemu-'));
    host = await HostRig.start();
    await create(
      'gateway',
      GATEWAY,
      'mac=00:16:3e:77:00:01,bridge=inside',
      'ip=10.77.0.1:::255.255.255.0 pool=10.77.0.100-10.77.0.101 dns=127.0.0.1:53',
      'pvcalls = [ "connect=53" ]\n',
    );
    await create('server', GUEST, 'bridge=inside', 'ip=10.77.0.2:::255.255.255.0');
    expect(await on('bridge-port', 'add', 'inside', 'listen:qemu.sock')).toMatchObject({ code: 0 });
    await eventually('the guest serves', () => host.consoleLog('server').includes('serving'));
    machine = spawn(QEMU, [
      ...['-nodefaults', '-no-user-config', '-nographic', '-M', 'q35', '-accel', 'tcg', '-m', '64', '-serial', 'stdio'],
      ...['-netdev', `stream,id=n0,server=off,addr.type=unix,addr.path=${join(dir, 'qemu.sock')}`],
      ...['-device', 'virtio-net-pci,netdev=n0', '-no-reboot'],
    ]);
    machine.stdout.on('data', (part: Buffer) => {
      screen += part.toString('latin1');
    });
    machine.stderr.on('data', (part: Buffer) => {
      screen += part.toString('latin1');
    });
  });
  afterAll(async () => {
    machine?.kill('SIGKILL');
    await host?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('has an address of the gateway, a file of a guest, and answers its pings', async () => {
    await shows('Press Ctrl-B to configure');
    // It looks for the key for two seconds of its own; at the prompt the key does nothing.
    await eventually('its prompt', () => {
      machine.stdin.write('\x02');
      return screen.includes('iPXE> ');
    });
    await says('dhcp', 'ok');
    await says('route', '10.77.0.100/255.255.255.0');
    await says('imgfetch http://10.77.0.2/file', 'ok');
    await says('imgstat', '1500000 bytes');
    await says('chain http://10.77.0.2/hello', 'this is HELLO of 10.77.0.2');
    await eventually('a ping', () => host.consoleLog('server').includes('the machine answers'));
  });
});
