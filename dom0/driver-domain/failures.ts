// What a driver domain whose processes keep ending says of its devices, until one of them serves: the reason is where
// Xen's backends leave theirs. Their state stays as it was: a frontend that closed now would have to be asked back.
import { errorPath, XenError, type XenstoreClient } from '#pvbus';

const TYPES = ['vbd', 'vif'];

async function children(xs: XenstoreClient, path: string): Promise<string[]> {
  const names = await xs.directory(path).catch((error): string[] => {
    if (error instanceof XenError && error.code === 'ENOENT') return [];
    throw error;
  });
  return names.map(name => `${path}/${name}`);
}

/** Resolves with what takes it back. */
export async function reportFailures(xs: XenstoreClient, home: string, failures: number): Promise<() => Promise<void>> {
  const frontends = await Promise.all(TYPES.map(type => children(xs, `${home}/backend/${type}`)));
  const devices = (await Promise.all(frontends.flat().map(path => children(xs, path)))).flat();
  const text = `EIO its backend has ended ${failures} times in a row without having served`;
  await Promise.all(devices.map(device => xs.write(errorPath(device), text)));
  return async () => {
    await Promise.all(devices.map(device => xs.rm(errorPath(device).replace(/\/error$/, '')).catch(() => {})));
  };
}
