// Is this machine one that xenolith runs on, and what is lost where something is missing?

import type { CallResult, Machine } from './machine.ts';

export interface Check {
  readonly name: string;
  /** `fail`: no host can run here. `warn`: one can, without what `lost` says. */
  readonly status: 'ok' | 'warn' | 'fail';
  readonly found: string;
  /** null when nothing is. */
  readonly lost: string | null;
  readonly advice: string | null;
}

type Outcome = Omit<Check, 'name'>;

const ok = (found: string): Outcome => ({ status: 'ok', found, lost: null, advice: null });
const warn = (found: string, lost: string, advice: string): Outcome => ({ status: 'warn', found, lost, advice });
const fail = (found: string, advice: string): Outcome => ({
  status: 'fail',
  found,
  lost: 'a host does not start',
  advice,
});

const NODE = [20, 19] as const;
const KERNEL = [5, 16] as const;
const NOFILE = 1024;
const NPROC = 512;
const MAPS = 65_530;
const MEMORY_MIB = 512;

export async function runChecks(machine: Machine, runDirectory: string): Promise<Check[]> {
  const calls = {
    futex: await machine.call('futex_waitv'),
    memfd: await machine.call('memfd_seals'),
    pidfd: await machine.call('pidfd_open'),
    landlock: await machine.call('landlock'),
  };
  const koffi = await machine.packageError('koffi');
  const esbuild = await machine.packageError('esbuild');
  const outcomes: Record<string, Outcome> = {
    system: system(machine),
    node: node(machine),
    kernel: kernel(machine),
    koffi: koffi === null ? ok('loads') : fail(koffi, 'npm ci in the checkout, or reinstall the package'),
    esbuild:
      esbuild === null
        ? ok('loads')
        : warn(
            esbuild,
            "guest programs in TypeScript (ramdisk = 'x.ts')",
            'npm ci in the checkout, or reinstall the package',
          ),
    memfd_seals: needed(calls.memfd, 'the memory of domains is a sealed memfd'),
    pidfd: needed(calls.pidfd, 'the hypervisor ends processes by it'),
    futex_waitv: futexWaitv(calls.futex),
    run_directory: machine.writable(runDirectory)
      ? ok(runDirectory)
      : fail(`${runDirectory} cannot be written`, 'set XENOLITH_RUN_DIR to a directory of yours'),
    ptmx: ptmx(machine),
    nofile: limit(machine, 'Max open files', NOFILE, 'many domains', 'ulimit -n 65536'),
    nproc: limit(machine, 'Max processes', NPROC, THREADS, 'ulimit -u 4096'),
    pids: pids(machine),
    max_map_count: mapCount(machine),
    memory: memory(machine),
    user_namespaces: userNamespaces(machine),
    shell: shell(machine),
    seccomp:
      machine.readFile('/proc/sys/kernel/seccomp/actions_avail') === null
        ? warn('not there', without('seccomp'), 'a kernel with CONFIG_SECCOMP_FILTER')
        : ok(`there${filtered(machine)}`),
    landlock:
      typeof calls.landlock === 'number'
        ? ok(`ABI ${calls.landlock}`)
        : warn(calls.landlock, without('landlock'), 'a kernel with lsm=landlock in its command line'),
    ext4: machine.ext4() ? ok('its driver is built') : warn('no driver', 'disks with ext4', 'xl build-ext4'),
  };
  for (const { name, program, lost } of PACKAGES) {
    outcomes[name] = machine.program(program) ? ok(program) : warn(`no ${program}`, lost, `apt-get install ${name}`);
  }
  return Object.entries(outcomes).map(([name, outcome]) => ({ name, ...outcome }));
}

const THREADS = 'many domains: each is a process of about ten threads';
/** Of domains' confinement. */
const without = (layer: string): string => `domains run without ${layer}; with confine = "strict" they do not run`;

const PACKAGES = [
  {
    name: 'xenstore-utils',
    program: 'xenstore-ls',
    lost: "Debian's own xenstore clients; `xl store' does what they do",
  },
  { name: 'xen-utils', program: 'xen', lost: "Debian's own xl and xenconsole, to compare with" },
  { name: 'qemu-utils', program: 'qemu-nbd', lost: 'disk images in qcow2, vhd, qed and qcow' },
  { name: 'mtools', program: 'mtype', lost: 'looking into FAT images from the host' },
] as const;

function system({ platform, arch, glibc }: Machine): Outcome {
  const found = `${platform} ${arch}, ${glibc === null ? 'no glibc' : `glibc ${glibc}`}`;
  const good = platform === 'linux' && arch === 'x64' && glibc !== null;
  return good ? ok(found) : fail(found, 'Linux on x86-64 with glibc, for instance a Debian container');
}

function atLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = version.split('.').map(part => Number.parseInt(part, 10));
  return a > major || (a === major && b >= minor);
}

function node({ nodeVersion }: Machine): Outcome {
  return atLeast(nodeVersion, NODE) ? ok(nodeVersion) : fail(nodeVersion, `Node ${NODE.join('.')} or newer`);
}

function kernel({ kernel: version }: Machine): Outcome {
  if (atLeast(version, KERNEL)) return ok(version);
  return warn(version, 'speed: no futex_waitv before 5.16', `Linux ${KERNEL.join('.')} or newer`);
}

/** Not there, or filtered away: the advice differs. */
function why(result: CallResult): string {
  if (result === 'EPERM' || result === 'EACCES') return `${result}: a seccomp filter forbids it`;
  return result === 'koffi' ? 'cannot be tried without koffi' : String(result);
}
const UNFILTERED = 'a container without that filter (docker run --security-opt seccomp=unconfined)';
const CONTAINER = `a newer kernel, or ${UNFILTERED}`;

function needed(result: CallResult, what: string): Outcome {
  return typeof result === 'number' ? ok('there') : fail(`${why(result)}; ${what}`, CONTAINER);
}

function futexWaitv(result: CallResult): Outcome {
  if (typeof result === 'number') return ok('there');
  return warn(why(result), 'speed: who waits for several others looks at them every so often instead', CONTAINER);
}

function ptmx({ openError }: Machine): Outcome {
  const error = openError('/dev/ptmx');
  if (error === null) return ok('opens');
  return warn(
    error,
    "consoles as terminals of the host (console/tty, xenconsole); `xl console' works",
    'mount devpts on /dev/pts',
  );
}

function limit({ readFile }: Machine, name: string, enough: number, lost: string, advice: string): Outcome {
  const line = readFile('/proc/self/limits')
    ?.split('\n')
    .find(text => text.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0];
  if (soft === undefined)
    return warn('/proc/self/limits cannot be read', 'nothing, if it is high enough', 'mount /proc');
  return soft === 'unlimited' || Number(soft) >= enough ? ok(soft) : warn(soft, lost, advice);
}

/** Threads count as well. */
function pids({ readFile }: Machine): Outcome {
  const most = readFile('/sys/fs/cgroup/pids.max')?.trim();
  if (most === undefined || most === 'max') return ok('as many as the limits above allow');
  return Number(most) >= NPROC ? ok(most) : warn(`${most} in this cgroup`, THREADS, 'docker run --pids-limit 4096');
}

function mapCount({ readFile }: Machine): Outcome {
  const count = Number(readFile('/proc/sys/vm/max_map_count') ?? Number.NaN);
  if (Number.isNaN(count)) return ok('not told');
  return count >= MAPS
    ? ok(String(count))
    : warn(String(count), 'many domains with many devices', `sysctl vm.max_map_count=${MAPS}`);
}

/** A domain's memory is a memfd: neither the size of /dev/shm nor kernel.shmmax limits it, but the cgroup does. */
function memory({ readFile }: Machine): Outcome {
  const kib = Number(/^MemAvailable: +([0-9]+) kB$/m.exec(readFile('/proc/meminfo') ?? '')?.[1] ?? Number.NaN);
  const group = readFile('/sys/fs/cgroup/memory.max')?.trim();
  const limitMib = group === undefined || group === 'max' ? Number.POSITIVE_INFINITY : Number(group) / 2 ** 20;
  const mib = Math.floor(Math.min(Number.isNaN(kib) ? Number.POSITIVE_INFINITY : kib / 1024, limitMib));
  if (!Number.isFinite(mib)) return ok('not told');
  const found = `${mib} MiB${limitMib < kib / 1024 ? ' (of the cgroup)' : ' available'}; /dev/shm does not matter`;
  return mib >= MEMORY_MIB
    ? ok(found)
    : warn(found, 'all but small domains', 'give the machine or container more memory');
}

function userNamespaces(machine: Machine): Outcome {
  const tried = machine.userNamespace();
  if (tried === true) return ok('can be made');
  return warn(
    tried === null ? 'cannot be tried: no unshare' : 'cannot be made',
    without('namespaces'),
    // A container's filter forbids them whatever the kernel's settings are.
    filtered(machine) === '' ? 'sysctl kernel.unprivileged_userns_clone=1' : UNFILTERED,
  );
}

/** Needs koffi, of which is told above. */
function shell(machine: Machine): Outcome {
  const verdict = machine.shell();
  if (verdict === 'fit') return ok('does under its filter what a guest needs');
  return { ...fail(verdict, 'another version of Node: 20, or 24'), lost: 'no domain runs' };
}

const filtered = ({ readFile }: Machine): string =>
  /^Seccomp:\s*2$/m.test(readFile('/proc/self/status') ?? '') ? ', and this process is filtered' : '';
