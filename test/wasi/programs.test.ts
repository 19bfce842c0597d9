// C programs that make every call from libc's side, on Node's WASI host and as processes of a guest: each line they
// print is an act and what came of it, and is the same on both but for the ones named here.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { earlier, systemClock } from '#pvbus';
import { Network } from '../../domu-kernel/net/network.ts';
import { nullFile } from '../../domu-kernel/process/null-file.ts';
import { exitNumber } from '../../domu-kernel/process/process.ts';
import { GuestSockets } from '../../domu-kernel/wasi/guest-sockets.ts';
import { VirtualClock } from '../support/lossy-wire.ts';
import { runOnNode } from '../support/programs/run-on-node.ts';
import { WASI_HEADERS } from '../support/programs/wasi-headers.ts';
import { whyNoTap } from '../support/tap.ts';
import { TcpPair } from '../support/tcp-pair.ts';
import { UserlandRig } from '../support/userland-rig.ts';
import { compileWasi, whyNoWasi } from '../support/wasi-cc.ts';

const missing = whyNoWasi();
const scratch = mkdtempSync(join(tmpdir(), 'xenolith-wasi-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function hasLoopback6(): boolean {
  return (networkInterfaces().lo ?? []).some(({ address }) => address === '::1');
}

interface Run {
  readonly lines: string[];
  readonly code: number | null;
}

async function onNode(program: string, name: string): Promise<Run> {
  const root = mkdtempSync(join(scratch, `${name}-`));
  const { stdout, stderr, code } = await runOnNode(program, ['one', 'two words'], root);
  if (stderr !== '') throw new Error(stderr);
  return { lines: stdout.split('\n'), code };
}
/** Prepared, suspended, rewound: as any program of a guest. */
function inGuest(
  program: string,
  rig = new UserlandRig({ clock: systemClock }),
  run = (until: () => boolean) => rig.run({ until }),
): Run {
  rig.write('/prog.wasm', readFileSync(program));
  rig.userland.create('/out').release();
  rig.mounts.find('/').create('home', 'directory').release();
  const out = rig.userland.open('/out', '>');
  let code: number | undefined;
  rig.userland.spawn({
    argv: ['/prog.wasm', 'one', 'two words'],
    env: new Map([['HOME', '/']]),
    cwd: '/home',
    stdio: [nullFile, out, out],
    onEnd: status => {
      code = exitNumber(status);
    },
  });
  run(() => code !== undefined);
  out.release();
  return { lines: rig.read('/out').split('\n'), code: code ?? null };
}

/** In a guest that is one end of a wire. */
function onWire(program: string, pair: TcpPair): Run {
  const sockets = new GuestSockets({ net: () => pair.a, loopback: () => pair.a, host: () => undefined });
  const rig = new UserlandRig({ clock: pair.clock, sockets });
  return inGuest(program, rig, until => {
    for (let idle = 0; !until(); ) {
      const moved = rig.userland.step() === 'progress';
      pair.settle();
      if (moved) continue;
      if (++idle > 1000) throw new Error(`it waits for ever, behind\n${rig.read('/out')}`);
      const deadline = rig.userland.processes.deadline();
      if (!pair.advance(deadline) && deadline !== undefined) pair.clock.ns = Math.max(pair.clock.ns, deadline);
    }
  });
}
/** Where nobody else has a port, if Linux lets us: others here take ports of the loopback at any time. */
function onOwnLoopback(native: string): string {
  const alone = spawnSync('unshare', ['-rn', 'sh', '-c', 'ip link set lo up && exec "$0"', native], {
    encoding: 'utf8',
  });
  return alone.stdout || spawnSync(native, { encoding: 'utf8' }).stdout;
}
/** In a namespace of Linux that has what the guest has: lo, and eth0 as 10.0.0.1/24 and fd00::1/64. */
function inNamespace(native: string): string {
  const [own, other] = [`xl-wasi-${process.pid}`, `xl-peer-${process.pid}`];
  const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: 'pipe' });
  try {
    for (const name of [own, other]) ip('netns', 'add', name);
    // Nobody else is there: its addresses are its own at once.
    ip('netns', 'exec', own, 'sysctl', '-w', 'net.ipv6.conf.default.accept_dad=0');
    ip('-n', own, 'link', 'add', 'eth0', 'index', '2', 'type', 'veth', 'peer', 'name', 'eth1', 'netns', other);
    ip('-n', other, 'link', 'set', 'eth1', 'up');
    for (const link of ['lo', 'eth0']) ip('-n', own, 'link', 'set', link, 'up');
    ip('-n', own, 'addr', 'add', '10.0.0.1/24', 'brd', '+', 'dev', 'eth0');
    ip('-n', own, 'addr', 'add', 'fd00::1/64', 'dev', 'eth0');
    ip('-n', own, 'route', 'add', 'default', 'via', '10.0.0.2');
    return ip('netns', 'exec', own, native);
  } finally {
    for (const name of [own, other]) spawnSync('ip', ['netns', 'delete', name]);
  }
}

/** What is not the same: Node's line and ours, which is what wasmtime and POSIX have. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  // Node has 0 for all of them.
  'd_ino is st_ino: no': 'd_ino is st_ino: yes',
  // ENOBUFS: readlink gives as much as there is room for.
  'readlink("link", buffer, 3): ENOBUFS': 'readlink("link", buffer, 3): 3',
  // Node follows what it was told not to.
  'open("link", O_RDONLY | O_NOFOLLOW): ok': 'open("link", O_RDONLY | O_NOFOLLOW): ELOOP',
  'open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644): ok': 'open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644): EEXIST',
  // Node keeps microseconds.
  'times 1000.0 2000.0': 'times 1000.5 2000.7',
  // Node polls no files (libuv has them ready in read and write only).
  'poll(fds, 2, 1000): EPERM': 'poll(fds, 2, 1000): 2',
  'revents 0 0': 'revents 1 1',
  // Node forgets the flag.
  'fcntl(fd, F_GETFL) & O_NONBLOCK ? 1 : 0: 0': 'fcntl(fd, F_GETFL) & O_NONBLOCK ? 1 : 0: 1',
};

describe.skipIf(missing !== undefined)(`libc's calls${missing ? ` (skipped: ${missing})` : ''}`, () => {
  it.each(['files', 'names', 'process'])('of %s.c do what they do under node:wasi', async name => {
    const source = fileURLToPath(new URL(`programs/${name}.c`, import.meta.url));
    const program = await compileWasi(source, { flags: ['-O1'] });
    const [node, ours] = [await onNode(program, name), inGuest(program)];
    expect(ours.code).toBe(node.code);
    const expected = node.lines.map(line => DIFFERENCES[line] ?? line);
    expect(ours.lines).toEqual(expected);
  });

  const whyNot = spawnSync('gcc', ['--version']).error ? 'no gcc' : hasLoopback6() ? '' : "no ::1 among the host's";
  it.skipIf(whyNot !== '').each([
    ['datagrams', (native: string) => spawnSync(native, { encoding: 'utf8' }).stdout],
    ['families', onOwnLoopback],
    ['streams', onOwnLoopback],
  ] as const)(
    `of %s.c do on the loopback what they do on Linux${whyNot && ` (skipped: ${whyNot})`}`,
    async (name, onLinux) => {
      const source = fileURLToPath(new URL(`programs/${name}.c`, import.meta.url));
      const native = join(scratch, name);
      const compiled = spawnSync('gcc', ['-O1', '-w', '-o', native, source], { encoding: 'utf8' });
      expect(compiled.stderr).toBe('');
      const linux = onLinux(native);
      const program = await compileWasi(source, { flags: ['-O1', '-I', WASI_HEADERS] });
      const clock = new VirtualClock();
      const lo = new Network({ clock, random: Math.random });
      const sockets = new GuestSockets({ net: () => undefined, loopback: () => lo, host: () => undefined });
      const rig = new UserlandRig({ clock, sockets });
      const { lines, code } = inGuest(program, rig, until => {
        for (let turns = 0; !until(); turns++) {
          if (turns > 1e6) throw new Error(`it waits for ever, behind\n${rig.read('/out')}`);
          const moved = [rig.userland.step(), lo.step()].includes('progress');
          if (moved) continue;
          const next = earlier(rig.userland.processes.deadline(), lo.deadline());
          clock.ns = Math.max(clock.ns, next ?? clock.ns);
        }
      });
      expect(code).toBe(0);
      expect(lines).toEqual(linux.split('\n'));
      expect(lo.udp.queued).toBe(0);
    },
  );

  it("of xenolith_sock.h do what POSIX's do, over the guest's own TCP", async () => {
    const source = fileURLToPath(new URL('programs/sockets.c', import.meta.url));
    const program = await compileWasi(source, { flags: ['-O1', '-I', WASI_HEADERS] });
    const { lines, code } = onWire(program, new TcpPair());
    expect(code).toBe(0);
    expect(lines.join('\n')).toBe(readFileSync(source.replace(/c$/, 'txt'), 'utf8'));
  });

  const whyAlone = whyNoTap() ?? whyNot;
  it.skipIf(whyAlone !== '').each(['groups'])(
    `of %s.c do with an interface what they do on Linux${whyAlone && ` (skipped: ${whyAlone})`}`,
    async name => {
      const source = fileURLToPath(new URL(`programs/${name}.c`, import.meta.url));
      const native = join(scratch, name);
      const compiled = spawnSync('gcc', ['-O1', '-w', '-o', native, source], { encoding: 'utf8' });
      expect(compiled.stderr).toBe('');
      const linux = inNamespace(native);
      const program = await compileWasi(source, { flags: ['-O1', '-I', WASI_HEADERS] });
      const pair = new TcpPair({ ip6: true });
      const { lines, code } = onWire(program, pair);
      expect(code).toBe(0);
      expect(lines).toEqual(linux.split('\n'));
      expect(pair.a.udp.queued).toBe(0);
    },
  );
});
