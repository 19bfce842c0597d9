// Writing a domain's memory and state into a file, for `xl dump-core` and coredump-* of a config.
import { read } from 'node:fs';
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { closeFd, type Domid, PAGE_SIZE, XenError } from '#pvbus';
import { coreFile } from './core-file.ts';
import type { Xc } from './xc.ts';

const readAt = promisify(read);
/** Read at a time; what is all zeros is left out of the file. */
const CHUNK = 1 << 18;

/** The domain goes on meanwhile, as with the real one. Throws with nothing left of the file. */
export async function dumpCore(xc: Xc, domid: Domid, path: string): Promise<void> {
  const info = xc.domainInfo(domid);
  if (info === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
  const { fd, layout } = xc.foreignMemory(domid);
  let file: FileHandle | undefined;
  try {
    const sharedInfo = Buffer.alloc(PAGE_SIZE);
    await readAt(fd, sharedInfo, 0, PAGE_SIZE, layout.sharedInfo * PAGE_SIZE);
    const core = coreFile({
      version: xc.version(),
      contexts: contextsOf(xc, domid, info.maxVcpuId),
      sharedInfo,
      nrPages: layout.maxPages,
    });
    // What a guest's memory holds is for nobody else's eyes.
    file = await open(path, 'w', 0o600);
    await file.truncate(core.size);
    for (const { at, bytes } of core.parts) await file.write(bytes, 0, bytes.length, at);
    await copyMemory(fd, file, core.pagesAt, layout.maxPages * PAGE_SIZE);
    await file.close();
  } catch (error) {
    if (file !== undefined) {
      await file.close().catch(() => {}); // closed already when that was what failed
      await rm(path, { force: true });
    }
    if (error instanceof XenError) throw error;
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    throw new XenError(code, `core of dom${domid}: ${message}`, error);
  } finally {
    closeFd(fd);
  }
}

/** The same, into a folder that is there only once something was dumped. */
export async function dumpCoreTo(xc: Xc, domid: Domid, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await dumpCore(xc, domid, path);
}

function contextsOf(xc: Xc, domid: Domid, maxVcpuId: number): Uint8Array[] {
  const contexts: Uint8Array[] = [];
  for (let vcpu = 0; vcpu <= maxVcpuId; vcpu++) {
    const context = xc.vcpuContext(domid, vcpu);
    if (context !== undefined) contexts.push(context);
  }
  return contexts;
}

async function copyMemory(from: number, to: FileHandle, at: number, size: number): Promise<void> {
  const chunk = Buffer.alloc(CHUNK);
  const zeros = Buffer.alloc(CHUNK);
  for (let done = 0; done < size; ) {
    const { bytesRead } = await readAt(from, chunk, 0, Math.min(CHUNK, size - done), done);
    if (bytesRead === 0) throw new XenError('EIO', `the memory ends after ${done} of ${size} bytes`);
    const piece = chunk.subarray(0, bytesRead);
    if (piece.compare(zeros, 0, bytesRead) !== 0) await to.write(piece, 0, bytesRead, at + done);
    done += bytesRead;
  }
}
