// A host for one test: up before its body, gone after it.

import { Host, type HostOptions } from './host.ts';

/** Resolves with what `body` does, when nothing of the host is left. */
export async function withTopology<T>(
  topology: string | object,
  options: HostOptions,
  body: (host: Host) => Promise<T>,
): Promise<T> {
  const host = await Host.start(options);
  try {
    await host.up(topology);
    return await body(host);
  } finally {
    await host.stop();
  }
}
