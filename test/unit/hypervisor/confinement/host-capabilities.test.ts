// What a host of root keeps of root's capabilities is what something needs: each is taken away alone, and what it is for fails.
// The acts are those of scripts that a host runs, by the programs they use.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { CAPABILITIES, type Capability, mayDropCapabilities } from '#pvbus';
import { HOST_CAPABILITIES } from '../../../../hypervisor/confinement/host-capabilities.ts';
import { findTool } from '../../../../hypervisor/confinement/launch-command.ts';
import { NOBODY } from '../../../support/nobody.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-capabilities-'));
const file = join(dir, 'of-another');
beforeEach(() => {
  for (const name of readdirSync(dir)) rmSync(join(dir, name), { recursive: true });
  writeFileSync(file, 'x\n');
  try {
    chmodSync(file, 0o700);
    chownSync(file, NOBODY, NOBODY);
  } catch {
    // not root: the acts are skipped
  }
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const sysctl = (name: string): string => readFileSync(`/proc/sys/${name}`, 'latin1').trim();
const PYTHON = '/usr/bin/python3';
const python = (program: string): string => `${PYTHON} -c '${program}'`;
const listen = `require("net").createServer().on("error", () => process.exit(1)).listen(PORT, "127.0.0.1", () => process.exit(0))`;

/** What PAM does for su(1) and runuser(1), which may fail where it is refused: AUDIT_USER, to be answered. Of no audit it is ignored. */
const tellAudit = `import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
s.send(struct.pack("=IHHII", 20, 1005, 5, 1, 0) + b"test")
exit(struct.unpack_from("=i", s.recv(4096), 16)[0] != 0)`;

/** Ends with 0 when it was done. */
const ACTS: Readonly<Partial<Record<Capability, string>>> = {
  chown: `touch "${dir}/own" && chown ${NOBODY} "${dir}/own"`,
  dac_override: `echo y >> "${file}"`,
  fowner: `chmod 600 "${file}"`,
  // Linux says nothing when it leaves the bit out.
  fsetid: `chmod 2755 "${file}" && test -g "${file}"`,
  // Of another user's, once it is that; it ends with the shell, whoever may kill it.
  kill: `setpriv --reuid ${NOBODY} -- tail --pid=$$ -f /dev/null & until grep -q "^Uid:.${NOBODY}" /proc/$!/status; do test -d /proc/$! || exit 9; done; kill $!`,
  setgid: `setpriv --regid ${NOBODY} --clear-groups -- true`,
  setuid: `setpriv --reuid ${NOBODY} -- true`,
  // setpriv says nothing when it could not; chown is the lowest bit.
  setpcap: 'setpriv --bounding-set=-chown -- grep -q "^CapBnd:.*[02468ace]$" /proc/self/status',
  net_bind_service: `"${process.execPath}" -e '${listen.replace('PORT', '1')}'`,
  net_admin: 'unshare --net -- ip link set lo up',
  net_raw: python('import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)'),
  ipc_lock: `ulimit -l 0; ${python('import ctypes; exit(ctypes.CDLL(None).mlockall(1) != 0)')}`,
  sys_chroot: 'chroot / true',
  sys_admin: 'unshare --mount -- mount -t tmpfs none /mnt',
  sys_nice: 'chrt --fifo 1 true',
  sys_resource: 'ulimit -n 100; ulimit -Hn 200',
  // One that is there is looked at before the capability.
  mknod: `rm -f "${dir}/loop" && mknod "${dir}/loop" b 7 0`,
  audit_write: python(tellAudit),
  syslog: 'dd if=/dev/kmsg of=/dev/null bs=8192 count=1 iflag=nonblock',
};
/** What anybody may do here. */
const FREE: Readonly<Partial<Record<Capability, boolean>>> = {
  net_bind_service: sysctl('net/ipv4/ip_unprivileged_port_start') <= '1',
  syslog: sysctl('kernel/dmesg_restrict') === '0',
};

/** As what a host starts has them: root's programs get what the bounding set leaves. */
function statusWith(capabilities: readonly Capability[], act: string): number | null {
  const kept = ['-all', ...capabilities.filter(has).map(name => `+${name}`)].join(',');
  const words = [`--bounding-set=${kept}`, '--inh-caps=-all', '--no-new-privs', '--', 'sh', '-c', act];
  return spawnSync(findTool('setpriv')!, words, { stdio: 'ignore' }).status;
}

/** Root of a container may have been given fewer. */
const held = BigInt(`0x${/^CapPrm:\t(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]}`);
const has = (name: Capability): boolean => ((held >> BigInt(CAPABILITIES[name])) & 1n) === 1n;
const isRoot =
  process.getuid?.() === 0 && mayDropCapabilities() && findTool('setpriv') !== undefined && existsSync(PYTHON);

it('each has an act that it is for', () => {
  expect(Object.keys(ACTS).sort()).toEqual([...HOST_CAPABILITIES].sort());
});
for (const name of HOST_CAPABILITIES)
  it.skipIf(!isRoot || !has(name))(`${name} is needed`, () => {
    expect(statusWith(HOST_CAPABILITIES, ACTS[name]!)).toBe(0);
    const others = HOST_CAPABILITIES.filter(other => other !== name);
    if (!FREE[name]) expect(statusWith(others, ACTS[name]!)).not.toBe(0);
  });
