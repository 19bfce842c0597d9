// What the toolstack asks of this domain in control/shutdown. Xen: docs/misc/xenstore-paths, ~/control/shutdown.
import type { Log } from './log.ts';
import { readKey } from './xenbus.ts';
import type { XenstoreClient } from './xenstore-client.ts';

export type ShutdownRequest = 'poweroff' | 'reboot';

const REQUESTS: Readonly<Record<string, ShutdownRequest>> = {
  poweroff: 'poweroff',
  halt: 'poweroff',
  reboot: 'reboot',
};

/** Says what this guest knows, and calls `asked` for each request after acknowledging it. */
export async function watchControl(
  xs: XenstoreClient,
  home: string,
  log: Log,
  asked: (request: ShutdownRequest) => void,
): Promise<void> {
  const path = `${home}/control/shutdown`;
  const look = async (): Promise<void> => {
    if (!(await readKey(xs, path))) return; // as nearly always: not worth a transaction
    const word = await xs.transaction(async tx => {
      const value = await readKey(xs, path, tx);
      // Xen: emptying it is the acknowledgement.
      if (value) await xs.write(path, '', tx);
      return value;
    });
    if (!word) return;
    const request = Object.hasOwn(REQUESTS, word) ? REQUESTS[word] : undefined;
    if (request) asked(request);
    else log.warn(`control/shutdown: '${word}' is nothing this guest can do`);
  };
  // All at once: requests are served in their order.
  const features = ['feature-poweroff', 'feature-reboot'].map(feature => xs.write(`${home}/control/${feature}`, '1'));
  const changed = (): void => {
    look().catch(error => log.warn(`control/shutdown: ${error instanceof Error ? error.message : error}`));
  };
  let first = true;
  const watching = xs.watch(path, 'control/shutdown', () => {
    // Xen: a watch fires once when it is set. The look below is younger than that.
    if (!first) changed();
    first = false;
  });
  changed();
  await Promise.all([...features, watching]);
}
