// What a driver domain whose processes keep ending says of its devices, until one of them serves: the reason is where
// Xen's backends leave theirs. Their state stays as it was: a frontend that closed now would have to be asked back.
import { childrenOf, errorPath, readKey, type XenstoreClient } from '#pvbus';

const TYPES = ['vbd', 'vif'];

const below = async (xs: XenstoreClient, path: string): Promise<string[]> =>
  (await childrenOf(xs, path)).map(name => `${path}/${name}`);

const SAID = /^EIO its backend has ended \d+ times in a row without having served$/;

/** Where each device's reason is. */
async function errorsOf(xs: XenstoreClient, home: string): Promise<string[]> {
  const frontends = await Promise.all(TYPES.map(type => below(xs, `${home}/backend/${type}`)));
  const devices = await Promise.all(frontends.flat().map(path => below(xs, path)));
  return devices.flat().map(errorPath);
}

export async function reportFailures(xs: XenstoreClient, home: string, failures: number): Promise<void> {
  const text = `EIO its backend has ended ${failures} times in a row without having served`;
  await Promise.all((await errorsOf(xs, home)).map(path => xs.write(path, text)));
}

/** Also what a process before this one has said, and was killed before it could take it back. Never rejects. */
export async function takeBackFailures(xs: XenstoreClient, home: string): Promise<void> {
  const takeBack = async (path: string): Promise<void> => {
    if (SAID.test((await readKey(xs, path)) ?? '')) await xs.rm(path.replace(/\/error$/, ''));
  };
  const paths = await errorsOf(xs, home).catch(() => []); // xenstore is gone: so are we
  await Promise.allSettled(paths.map(takeBack)); // gone with its device
}
