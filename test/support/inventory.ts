// Everything there is of a host, as lists of text: taken before and after, the difference names what was left.
import { runPaths } from '#pvbus';
import {
  DOM0_MEMORY,
  DOM0_VCPUS,
  nodesBelow,
  type ProcessInventory,
  processInventory,
} from '../../tools/library/host-inventory.ts';
import { withXenstore } from '../../tools/library/with-xenstore.ts';
import { ToolstackClient } from '../../tools/toolstack-client.ts';
import type { HostRig } from './host-rig.ts';
import { eventually } from './processes.ts';

export interface Inventory extends ProcessInventory {
  /** The hypervisor's own account: domains, event channels, grants, pools, doorbell pages, timers. */
  readonly hypervisor: readonly string[];
  /** Every path in xenstore. */
  readonly nodes: readonly string[];
  /** What is in the run directory, logs excepted: those are to stay. */
  readonly files: readonly string[];
}

/** As it is now. What ends by itself in a moment, such as a socket, may still be in it: see `settled`. */
export async function takeInventory(host: HostRig, debugKeys = 'qegma'): Promise<Inventory> {
  return {
    ...processInventory(host.processes(), host.log()),
    hypervisor: await hypervisorState(host, debugKeys),
    nodes: await withXenstore(host, async xs => (await nodesBelow(xs, '/')).sort()),
    files: host.files().filter(name => !name.startsWith('log/')),
  };
}

/** The inventory of a host that has come to rest: its processes are known to the hypervisor, every vCPU of dom0 runs, and nothing changes. */
export async function inventoryAtRest(host: HostRig, debugKeys?: string): Promise<Inventory> {
  let last = await takeInventory(host, debugKeys);
  await eventually('the host is at rest', async () => {
    const before = JSON.stringify(last);
    last = await takeInventory(host, debugKeys);
    const attached = last.mappings.includes(`dom0.js: ${DOM0_VCPUS} ${DOM0_MEMORY}`);
    return attached && isWatched(last) && JSON.stringify(last) === before;
  });
  return last;
}
/** The hypervisor has a descriptor of each process it started: a domain's waiting shell is there before that. */
export function isWatched({ processes, descriptors }: Inventory): boolean {
  const started = processes.filter(program => /^(dom0|xenstored|driver-domain)\.js$|^domain-shell\.cjs$/.test(program));
  const watched = descriptors.map(line => /^hypervisor\.js: (\d+) anon_inode:\[pidfd\]$/.exec(line)?.[1]);
  return Number(watched.find(count => count !== undefined) ?? 0) >= started.length;
}
/** The inventory once it equals `expected`, or as it is after `timeoutMs`: for the caller to compare. */
export async function settled(host: HostRig, expected: Inventory, timeoutMs = 60_000): Promise<Inventory> {
  let last = await takeInventory(host);
  const same = async (): Promise<boolean> => {
    last = await takeInventory(host);
    return JSON.stringify(last) === JSON.stringify(expected);
  };
  await eventually('the inventory is what it was', same, timeoutMs).catch(() => {});
  return last;
}

/** The dump of `xl debug-keys`, without what changes from one moment to the next. */
async function hypervisorState(host: HostRig, keys: string): Promise<string[]> {
  const passing = /\[[p-][m-]\]|: (in a hypercall.*?|blocked|on line)(?=,)/g;
  const text = await withToolstack(host, async toolstack => {
    await toolstack.call('dmesg', { clear: true });
    await toolstack.call('debugKeys', { keys });
    return (await toolstack.call('dmesg', { clear: true })).text;
  });
  return text.split('\n').map(line => line.replace(/^\(XEN\) /, '').replace(passing, ''));
}

async function withToolstack<T>(host: HostRig, body: (toolstack: ToolstackClient) => Promise<T>): Promise<T> {
  const toolstack = await ToolstackClient.connect(runPaths(host.runDir).toolstackSocket);
  try {
    return await body(toolstack);
  } finally {
    toolstack.close();
  }
}
