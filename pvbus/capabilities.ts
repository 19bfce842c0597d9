// Linux's capabilities: what root may do beyond its user. They are a thread's, and of what it starts.
import { readFileSync } from 'node:fs';
import { dropFromBounds, setCapabilities } from './linux-confinement.ts';

/** Linux's numbers: linux/capability.h. */
export const CAPABILITIES = {
  ...{ chown: 0, dac_override: 1, fowner: 3, fsetid: 4, kill: 5, setgid: 6, setuid: 7, setpcap: 8 },
  ...{ net_bind_service: 10, net_admin: 12, net_raw: 13, ipc_lock: 14, sys_chroot: 18, sys_admin: 21, sys_nice: 23 },
  ...{ sys_resource: 24, mknod: 27, audit_write: 29, syslog: 34 },
} as const;
export type Capability = keyof typeof CAPABILITIES;

/** Those that this thread has, as bits. */
function held(): bigint {
  const status = readFileSync('/proc/thread-self/status', 'latin1');
  return BigInt(`0x${/^CapPrm:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
}
/** May what this thread starts be given fewer? */
export const mayDropCapabilities = (): boolean => (held() & (1n << BigInt(CAPABILITIES.setpcap))) !== 0n;

/**
 * From here on this thread, and whatever it starts, has no capability but those of `kept` that it had, and none comes back
 * with a program. Needs setpcap; where that is not there, nothing happens. Throws SystemCallError.
 */
export function keepCapabilities(kept: readonly Capability[]): void {
  if (!mayDropCapabilities()) return;
  const before = held();
  const bits = kept.reduce((all, name) => all | (1n << BigInt(CAPABILITIES[name])), 0n);
  // order: dropping from the bounds takes setpcap, which may go itself.
  for (let number = 0; before >> BigInt(number) !== 0n; number++)
    if (((before & ~bits) >> BigInt(number)) & 1n) dropFromBounds(number);
  setCapabilities(before & bits);
}
