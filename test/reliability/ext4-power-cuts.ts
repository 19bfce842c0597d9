// Power cuts under an ext4 volume, all in one thread: as power-cuts.ts does it under FAT. What a sync has promised must be
// there after the next mount, and after `e2fsck -p` instead of it, and then nothing is left to repair.
import type { Ext4Volume } from '../../domu-kernel/fs/ext4/volume.ts';
import type { Vnode } from '../../domu-kernel/fs/file-system.ts';
import { XenError } from '../../pvbus/errors.ts';
import { e2fsck, emptyExt4, type Layout, mountedExt4 } from '../support/ext4.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { seeded } from '../support/random.ts';
import { PowerCutDisk } from './power-cut-disk.ts';

const RECORD = 96;
const LOGS = 3;
const CONFIGS = 2;
const SCRATCH = 8;
/** Sectors of a block, which arrives whole: a superblock is two of them. */
const ATOMIC = 8;

interface Promised {
  /** Records of each log that were synced. */
  readonly logs: readonly number[];
  /** Each config is one of these versions. */
  readonly configs: readonly (readonly [synced: number, newest: number])[];
}
export interface Report {
  cuts: number;
  /** Sectors, before the power went. */
  readonly discarded: number;
  readonly lost: string[];
}

function record(which: number, n: number): Uint8Array {
  const random = seeded(which * 1e6 + n);
  return new Uint8Array(Uint32Array.from({ length: RECORD / 4 }, () => random() * 2 ** 32).buffer);
}
const config = (which: number, version: number): Uint8Array =>
  Buffer.concat(Array.from({ length: 1 + (version % 60) }, (_, i) => record(100 + which * 100 + i, version)));

class Workload {
  readonly disk: PowerCutDisk;
  readonly promises: { readonly moment: number; readonly promised: Promised }[] = [];
  private readonly volume: Ext4Volume;
  private readonly random: () => number;
  private readonly logs = Array.from({ length: LOGS }, () => ({ written: 0, synced: 0 }));
  private readonly configs = Array.from({ length: CONFIGS }, () => ({ newest: 0, synced: 0 }));

  constructor(layout: Layout, random: () => number, operations: number) {
    this.random = random;
    this.disk = new PowerCutDisk(emptyExt4(layout).bytes, ATOMIC);
    this.volume = mountedExt4(this.disk, { cacheBytes: 1 << 18 });
    this.promise();
    for (let i = 0; i < operations; i++) {
      this.operate();
      this.promise();
    }
  }
  private promise(): void {
    this.promises.push({
      moment: this.disk.moments,
      promised: {
        logs: this.logs.map(({ synced }) => synced),
        configs: this.configs.map(({ synced, newest }) => [synced, newest] as const),
      },
    });
  }
  private pick(n: number): number {
    return Math.floor(this.random() * n);
  }
  private operate(): void {
    const act = this.pick(14);
    try {
      if (act < 5) this.append(this.pick(LOGS), act < 4);
      else if (act < 8) this.replace(this.pick(CONFIGS), act < 7);
      // A second without a write, for once.
      else if (act === 8) this.volume.settle();
      else this.scratch(act, this.pick(SCRATCH));
    } catch (error) {
      if (!(error instanceof XenError && error.code === 'ENOSPC')) throw error;
    }
  }
  private using<T>(name: string, act: (file: Vnode) => T): T {
    const { root } = this.volume;
    const file = root.lookup(name) ?? root.create(name, 'file');
    try {
      return act(file);
    } finally {
      file.release();
    }
  }
  private append(i: number, sync: boolean): void {
    const log = this.logs[i]!;
    this.using(`log ${i}`, file => {
      for (let n = this.pick(30); n >= 0; n--) file.write(log.written * RECORD, record(i, log.written++));
      if (!sync) return;
      file.sync(this.pick(2) === 0);
      log.synced = log.written;
    });
  }
  /** As careful programs do: a new file, synced, takes the old one's name. */
  private replace(i: number, sync: boolean): void {
    const state = this.configs[i]!;
    const { root } = this.volume;
    this.using(`config ${i}.new`, file => {
      file.truncate(0);
      file.write(0, config(i, state.newest + 1));
      file.sync(false);
    });
    state.newest++;
    root.rename(`config ${i}.new`, root, `config ${i}`);
    if (!sync) return;
    this.volume.sync();
    state.synced = state.newest;
  }
  /** What nobody has promised anything of: it takes blocks and gives them back. */
  private scratch(act: number, n: number): void {
    const { root } = this.volume;
    const name = `scratch ${n}`;
    const found = root.lookup(name);
    found?.release();
    if (act === 9)
      this.using(name, file => file.write(this.pick(200_000), new Uint8Array(this.pick(90_000)).fill(n + 1)));
    else if (act === 10 && found) root.unlink(name);
    else if (act === 11 && found) this.using(name, file => file.truncate(this.pick(100_000)));
    else if (act === 12 && found) {
      this.using(name, file => {
        root.unlink(name);
        file.write(0, new Uint8Array(5000));
        this.volume.sync();
      });
    } else if (act === 13) {
      const directory = root.lookup(`directory ${n}`);
      directory?.release();
      if (directory) root.rmdir(`directory ${n}`);
      else root.create(`directory ${n}`, 'directory').release();
    }
  }
}

function whole(volume: Ext4Volume, name: string): Uint8Array | undefined {
  const file = volume.root.lookup(name);
  if (!file) return undefined;
  const bytes = new Uint8Array(file.attributes().size);
  file.read(0, bytes);
  file.release();
  return bytes;
}
function compare(image: Uint8Array, { logs, configs }: Promised, where: string, lost: string[]): void {
  const volume = mountedExt4(new MemoryDisk(image));
  if (volume.readOnly) lost.push(`${where}: it is read-only`);
  logs.forEach((count, i) => {
    const found = whole(volume, `log ${i}`) ?? new Uint8Array(0);
    for (let n = 0; n < count; n++) {
      if (Buffer.compare(found.subarray(n * RECORD, (n + 1) * RECORD), record(i, n)) === 0) continue;
      lost.push(`${where}: log ${i}, record ${n} of ${count}; the file has ${found.length} bytes`);
      return;
    }
  });
  configs.forEach(([synced, newest], i) => {
    const found = whole(volume, `config ${i}`);
    if (synced === 0 && found === undefined) return;
    for (let v = Math.max(1, synced); v <= newest; v++) if (found && Buffer.compare(found, config(i, v)) === 0) return;
    lost.push(`${where}: config ${i} is none of versions ${synced} to ${newest}`);
  });
  if (!volume.readOnly) volume.close();
}

/** So many cuts of one workload, anywhere in it. */
export function cutExt4(layout: Layout, seed: number, operations: number, cuts: number): Report {
  const random = seeded(seed);
  const { disk, promises } = new Workload(layout, random, operations);
  const report: Report = { cuts: 0, discarded: disk.discarded, lost: [] };
  const step = Math.max(1, disk.moments / cuts);
  for (let at = 0; at <= disk.moments; at += step) {
    const moment = Math.floor(at);
    const share = [0, 1, 0.5, random()][Math.floor(random() * 4)] ?? 1;
    const image = disk.cut(moment, () => random() < share);
    const where = `seed ${seed}, cut at ${moment} of ${disk.moments}, ${share} of what was not flushed`;
    const promised = promisedAt(promises, moment);
    report.cuts++;
    try {
      const mounted = image.slice();
      compare(mounted, promised, `${where}, mounted`, report.lost);
      const left = e2fsck(mounted);
      if (left !== '') report.lost.push(`${where}: after our mount: ${left}`);
      const checked = image.slice();
      const said = e2fsck(checked, '-p');
      if (!/^(|status 1\n)/.test(said)) report.lost.push(`${where}: e2fsck -p: ${said}`);
      const again = e2fsck(checked);
      if (again !== '') report.lost.push(`${where}: after e2fsck -p: ${again}`);
      compare(checked, promised, `${where}, e2fsck -p`, report.lost);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      report.lost.push(`${where}: ${error.message}`);
    }
  }
  return report;
}
function promisedAt(promises: Workload['promises'], moment: number): Promised {
  const first = promises.findLast(({ moment: begun }) => begun <= moment);
  if (!first) throw new Error('nothing was promised');
  // What was written later than the last promise may be there too.
  const next = promises.find(({ moment: begun }) => begun > moment);
  const configs = first.promised.configs.map(
    ([synced, newest], i) => [synced, Math.max(newest, next?.promised.configs[i]?.[1] ?? newest)] as const,
  );
  return { ...first.promised, configs };
}
