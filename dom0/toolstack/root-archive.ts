// What a domain's memory holds as its root: an archive of files, in which every WASI program is prepared. From a tar or
// cpio archive, compressed or not, or from one WASI program.
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import {
  type ArchiveEntry,
  archiveEntries,
  cpioArchive,
  INIT_CONFIG_PATH,
  type InitConfig,
  isArchive,
  plainInit,
  XenError,
} from '#pvbus';
import type { PreparedPrograms } from './prepared-programs.ts';

const COMPRESSED = ['.tar.gz', '.tgz', '.cpio.gz'];
/** Names of files that become the root of a domain. */
export const ROOTS: readonly string[] = ['.wasm', '.tar', '.cpio', ...COMPRESSED];

export const isRoot = (path: string): boolean => ROOTS.some(suffix => path.endsWith(suffix));

const NOTHING = new Uint8Array(0);

/** `file` is what `path` holds; uncompressed it may have `limit` bytes. Throws EINVAL, E2BIG, ENOEXEC. */
export async function rootEntries(
  path: string,
  file: Uint8Array,
  limit: number,
  programs: PreparedPrograms,
): Promise<ArchiveEntry[]> {
  if (path.endsWith('.wasm')) return programEntries(path, file, programs);
  const bytes = COMPRESSED.some(suffix => path.endsWith(suffix)) ? await uncompressed(file, limit) : file;
  if (!isArchive(bytes)) throw new XenError('EINVAL', 'it is neither a tar nor a cpio archive (newc)');
  const entries: ArchiveEntry[] = [];
  for (const entry of archiveEntries(bytes)) {
    const data = await programs.prepared(entry.data).catch(error => {
      throw error instanceof XenError ? new XenError(error.code, `/${entry.path}: ${error.message}`) : error;
    });
    entries.push({ ...entry, data });
  }
  return entries;
}

/** The archive, with `init` in place of what it says itself of the first program. */
export function rootArchive(entries: readonly ArchiveEntry[], init: InitConfig | null): Uint8Array {
  return cpioArchive(init === null ? entries : [...entries, ...initEntries(init)]);
}

async function programEntries(path: string, file: Uint8Array, programs: PreparedPrograms): Promise<ArchiveEntry[]> {
  const name = basename(path, '.wasm');
  const data = await programs.prepared(file);
  const program: ArchiveEntry = { ...plain(`bin/${name}`), type: 'file', mode: 0o755, data };
  const init = plainInit([`/bin/${name}`]);
  return [directory('bin'), directory('tmp'), program, ...initEntries(init)];
}

function initEntries(init: InitConfig): ArchiveEntry[] {
  const data = Buffer.from(JSON.stringify(init));
  return [directory('etc'), { ...plain(INIT_CONFIG_PATH.slice(1)), type: 'file', mode: 0o644, data }];
}

const plain = (path: string) => ({ path, mtime: 0, target: '', data: NOTHING });
const directory = (path: string): ArchiveEntry => ({ ...plain(path), type: 'directory', mode: 0o755 });

async function uncompressed(file: Uint8Array, limit: number): Promise<Uint8Array> {
  return promisify(gunzip)(file, { maxOutputLength: limit }).catch(error => {
    const tooBig = error.code === 'ERR_BUFFER_TOO_LARGE';
    if (tooBig) throw new XenError('E2BIG', `uncompressed it has more than ${limit >> 20} MiB`);
    throw new XenError('EINVAL', `it cannot be uncompressed: ${error.message}`);
  });
}
