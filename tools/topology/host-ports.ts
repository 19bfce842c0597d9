// Host ports that a topology wants are looked at before anything is made for it.

import { createServer } from 'node:net';
import { XenError } from '#pvbus';
import type { Step } from './plan.ts';

/** Throws EADDRINUSE naming the port and the domain that was to have it. `ours` will be free by then. */
export async function checkHostPorts(steps: readonly Step[], ours: ReadonlySet<number> = new Set()): Promise<void> {
  for (const step of steps) {
    if (step.kind !== 'domain') continue;
    for (const { host } of step.config.pvcalls.flatMap(({ listen }) => listen)) {
      if (host !== 0 && !ours.has(host)) await checkPort(host, step.config.name);
    }
  }
}

function checkPort(port: number, domain: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'is in use' : `cannot be had: ${error.code}`;
      reject(new XenError(error.code ?? 'EIO', `host port ${port}, which is for domain ${domain}, ${why}`, error));
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve()));
  });
}
