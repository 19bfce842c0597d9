// `xl block-export`: which file a tool may serve, and that nobody writes to it besides, until the tool goes away.
import { statSync } from 'node:fs';
import { type DiskConfig, isNbdTarget, type ToolstackArgs, type ToolstackResult, XenError } from '#pvbus';
import type { ImagesInUse } from '../backends/blkback/images-in-use.ts';
import { DOM0_NAME } from './domain-records.ts';

export class DiskExports {
  readonly #images: Pick<ImagesInUse, 'lend'>;

  constructor(images: Pick<ImagesInUse, 'lend'>) {
    this.#images = images;
  }

  /** Throws EBUSY, and EOPNOTSUPP for what is no raw file of dom0's. `stop`: for a tool that has gone. */
  begin(
    disks: readonly DiskConfig[],
    { domid, devid, writable }: ToolstackArgs<'exportDisk'>,
  ): { result: ToolstackResult<'exportDisk'>; stop: () => void } {
    const disk = disks.find(one => one.devid === devid);
    if (disk === undefined) throw new XenError('ENODEV', `dom${domid} has no disk ${devid}`);
    const { target, vdev, format, script, backend } = disk;
    const label = `${vdev} of dom${domid}`;
    if (isNbdTarget(target)) throw new XenError('EOPNOTSUPP', `${label} is served over NBD already: ${target}`);
    if (format !== 'raw') throw new XenError('EOPNOTSUPP', `${label} has format ${format}; raw images are exported`);
    if (script !== null || !target.startsWith('/')) throw new XenError('EOPNOTSUPP', `${label} is no file`);
    if (backend !== null && backend !== '0' && backend !== DOM0_NAME)
      throw new XenError('EOPNOTSUPP', `${label} is served by ${backend}, not by domain 0`);
    return { result: { path: target, vdev }, stop: this.#images.lend(identityOf(target, label), label, writable) };
  }
}

function identityOf(path: string, label: string): string {
  try {
    const stat = statSync(path);
    return `${stat.dev}:${stat.ino}`;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'EIO'; // a system call throws nothing else
    throw new XenError(code, `${label}: ${(error as Error).message}`, error);
  }
}
