// Asking a guest to shut down: a word in control/shutdown, which the guest empties when it has read it.
import { type Domid, readKey, XenError, type XenstoreClient } from '#pvbus';
import { shutdownPath } from './xenstore-paths.ts';

/** Xen: libxl waits this long for a PV guest's acknowledgement. */
const ACKNOWLEDGE_MS = 60_000;
let nextToken = 1;

/** Resolves when the guest took note; its shutdown is yet to come. */
export async function requestShutdown(
  xs: XenstoreClient,
  domid: Domid,
  how: 'poweroff' | 'reboot',
  timeoutMs = ACKNOWLEDGE_MS,
): Promise<void> {
  const path = shutdownPath(domid);
  const token = `shutdown:${nextToken++}`;
  let changed: () => void = () => {};
  let timedOut = false;
  await xs.write(path, how);
  const timer = setTimeout(() => {
    timedOut = true;
    changed();
  }, timeoutMs);
  await xs.watch(path, token, () => changed());
  try {
    for (;;) {
      const next = new Promise<void>(resolve => {
        changed = resolve;
      });
      // The node goes with the domain: then there is nobody left to acknowledge anything.
      const value = await readKey(xs, path);
      if (value === undefined || value !== how) return;
      if (timedOut) break;
      await next;
    }
    // order: taken back only while it is ours, so that a guest that wakes up late does not obey it.
    await xs.transaction(async tx => {
      if ((await readKey(xs, path, tx)) === how) await xs.write(path, '', tx);
    });
    throw new XenError('ETIMEDOUT', `dom${domid} did not take note of the ${how} request in ${timeoutMs / 1000} s`);
  } finally {
    clearTimeout(timer);
    await xs.unwatch(path, token).catch(() => {});
  }
}
