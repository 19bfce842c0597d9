// What a driver domain whose processes keep ending says of its devices, until one of them serves: the reason is where
// Xen's backends leave theirs. Their state stays as it was: a frontend that closed now would have to be asked back.
import { childrenOf, errorPath, type XenstoreClient } from '#pvbus';

const TYPES = ['vbd', 'vif'];

const below = async (xs: XenstoreClient, path: string): Promise<string[]> =>
  (await childrenOf(xs, path)).map(name => `${path}/${name}`);

/** Resolves with what takes it back. */
export async function reportFailures(xs: XenstoreClient, home: string, failures: number): Promise<() => Promise<void>> {
  const frontends = await Promise.all(TYPES.map(type => below(xs, `${home}/backend/${type}`)));
  const devices = (await Promise.all(frontends.flat().map(path => below(xs, path)))).flat();
  const text = `EIO its backend has ended ${failures} times in a row without having served`;
  await Promise.all(devices.map(device => xs.write(errorPath(device), text)));
  return async () => {
    await Promise.all(devices.map(device => xs.rm(errorPath(device).replace(/\/error$/, '')).catch(() => {})));
  };
}
