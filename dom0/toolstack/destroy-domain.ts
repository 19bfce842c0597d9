// The end of a domain: process, devices, console, nodes. Every step is tried, whatever became of the one
// before, and doing it again to a domain that is half gone is no error.
import { Cleanup, type Domid, type ToolstackStep, XenError } from '#pvbus';
import { backendClosed, type DevicePaths, listDevices, unplug } from './add-device.ts';
import { removeDomainNodes } from './domain-nodes.ts';
import { driverDomainsSettled } from './driver-domains.ts';
import { runRemoveScript } from './hotplug-script.ts';
import type { ToolstackParts } from './parts.ts';

/** How long a dying domain may hold on: a backend must let go of its grants first. */
const GONE_MS = 20_000;
/** How long dom0's backends may take to finish what they have of a dead domain. */
const BACKENDS_MS = 10_000;

/** Resolves when the hypervisor has forgotten the domain and nothing is left of it. */
export async function destroyDomain(parts: ToolstackParts, domid: Domid, uuid: string): Promise<void> {
  const { xs, log, consoled, records, backendsSettled } = parts;
  records.note(domid, { phase: 'going' });
  const devices = await listDevices(xs, domid);
  const name = records.get(domid)?.config.name ?? domid;
  const at = (step: ToolstackStep<'destroy'>): Promise<void> | undefined => parts.faults.at('destroy', name, step);
  const steps = new Cleanup(); // last in, first out
  steps.add('records', () => at('records'));
  steps.add('faults', () => parts.faults.domainGone(domid));
  steps.add(`the end of dom${domid}`, async () => {
    await at('gone');
    await waitUntilGone(parts, domid);
  });
  // An image is free for the next domain once its backend has let go of it.
  steps.add('backends', async () => {
    await at('backends');
    await backendsSettled();
    await driverDomainsSettled(parts, devices);
  });
  steps.add('xenstore nodes', async () => {
    await at('nodes');
    await removeDomainNodes(
      xs,
      domid,
      uuid,
      devices.map(device => device.backend),
    );
  });
  for (const device of devices) {
    const which = `${device.type} ${device.devid}`;
    // Its nodes go with the domain's.
    steps.add(which, async () => {
      if (!(await closings.get(device))) {
        log.warn(`dom${domid}: ${which} is not closed after ${BACKENDS_MS / 1000} s, taken away`);
      }
      await runRemoveScript(parts, device);
    });
  }
  // All at once: each is a round trip to xenstore and a driver domain.
  const closings = new Map<DevicePaths, Promise<boolean>>();
  steps.add('devices', async () => {
    await at('devices');
    for (const device of devices) closings.set(device, backendClosed(xs, device, BACKENDS_MS));
    await Promise.allSettled(closings.values());
  });
  steps.add('console', async () => {
    await at('console');
    await consoled.disconnect(domid);
  });
  steps.add(`dom${domid}`, async () => {
    await at('domain');
    // order: the devices are told first, so that the domain's end finds them closing, not failing.
    await Promise.all(devices.map(device => unplug(xs, device)));
    endDomain(parts, domid);
    await releaseDomain(parts, domid);
  });
  await steps.run();
}

/** Have xenstored let go of the domain now; by itself it does so at the domain's end, so both may happen. */
export async function releaseDomain({ xs }: ToolstackParts, domid: Domid): Promise<void> {
  try {
    if (await xs.isDomainIntroduced(domid)) await xs.release(domid);
  } catch (error) {
    if (!(error instanceof XenError && (error.code === 'ENOENT' || error.code === 'EINVAL'))) throw error;
  }
}

/** Begin the domain's death; one that is gone already is no error. */
export function endDomain({ xc }: ToolstackParts, domid: Domid): void {
  try {
    xc.destroyDomain(domid);
  } catch (error) {
    if (!(error instanceof XenError && error.code === 'ESRCH')) throw error;
  }
}

/** Throws ETIMEDOUT when it stays, as a domain does while somebody has its pages mapped. */
export async function waitUntilGone({ xc, clock }: ToolstackParts, domid: Domid): Promise<void> {
  const deadline = clock.now() + GONE_MS * 1e6;
  for (let pause = 1; xc.domainInfo(domid) !== undefined; pause = Math.min(pause * 1.25, 50)) {
    if (clock.now() > deadline) throw new XenError('ETIMEDOUT', `dom${domid} is still dying after ${GONE_MS / 1000} s`);
    // The hypervisor has no event for a domain's very last moment.
    await new Promise(resolve => setTimeout(resolve, pause));
  }
}
