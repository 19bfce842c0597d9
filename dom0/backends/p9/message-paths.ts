// Which files of a shared folder a message is about, as paths from the folder on, as far as can be known.
import { P9, P9Reader } from '#pvbus';
import type { P9Server } from './server.ts';

/** What comes behind the header: fids, and names in the directories that they are. */
type Read = (message: P9Reader, at: (fid: number) => string | undefined) => (string | undefined)[];

const named = (directory: string | undefined, ...names: string[]): string | undefined =>
  directory === undefined ? undefined : [directory === '/' ? '' : directory, ...names].join('/') || '/';

const OF_FID: Read = (message, at) => [at(message.u32())];
const OF_NAME: Read = (message, at) => [named(at(message.u32()), message.string())];
const READ: ReadonlyMap<number, Read> = new Map<number, Read>([
  [P9.Tattach, () => ['/']],
  [
    P9.Twalk,
    (message, at) => {
      const from = at(message.u32());
      message.u32();
      return [named(from, ...Array.from({ length: message.u16() }, () => message.string()))];
    },
  ],
  [
    P9.Tlink,
    (message, at) => {
      const directory = at(message.u32());
      const file = at(message.u32());
      return [named(directory, message.string()), file];
    },
  ],
  [
    P9.Trenameat,
    (message, at) => {
      const from = named(at(message.u32()), message.string());
      return [from, named(at(message.u32()), message.string())];
    },
  ],
  ...[P9.Tlcreate, P9.Tmkdir, P9.Tsymlink, P9.Tunlinkat].map((type): [number, Read] => [type, OF_NAME]),
]);

/** untrusted: a message of the client's. Where it cannot be read, it is about nothing. */
export function pathsOf(server: P9Server, request: Uint8Array): string[] {
  try {
    const message = new P9Reader().begin(request);
    const read = READ.get(message.type) ?? OF_FID;
    return read(message, fid => server.pathOf(fid)).filter(path => path !== undefined);
  } catch {
    return [];
  }
}

/** `path` itself is at and below itself. */
export const below = (path: string, one: string): boolean =>
  path === '/' || one === path || one.startsWith(`${path.replace(/\/$/, '')}/`);
