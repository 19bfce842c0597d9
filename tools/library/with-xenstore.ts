// xenstored of a host, for a moment.
import { runPaths, socketTransport, XenstoreClient } from '#pvbus';
import type { WatchedHost } from './faults.ts';

/** By a connection of its own: one that was there before has ended with a xenstored that was killed. */
export async function withXenstore<T>(
  { runDir }: Pick<WatchedHost, 'runDir'>,
  body: (xs: XenstoreClient) => Promise<T>,
): Promise<T> {
  const xs = new XenstoreClient(await socketTransport(runPaths(runDir).xenstoredSocket));
  try {
    return await body(xs);
  } finally {
    xs.close();
  }
}
