// Power cuts under a FAT volume, all in one thread: a workload is recorded once as the writes and flushes it comes to, and
// then cut off after each of them, with what was not flushed there in part. What a sync has promised must be in the image
// when it has been mounted again, and fsck.vfat then finds nothing to repair; so it must be after fsck.vfat's own repair.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FatVolume } from '../../domu-kernel/fs/fat-volume.ts';
import { XenError } from '../../pvbus/errors.ts';
import { emptyFat, type FatBits, filesOn, mounted, mountOptions } from '../support/fatfs.ts';
import { MemoryDisk } from '../support/memory-disk.ts';
import { seeded } from '../support/random.ts';
import { count, fsck, fsckMissing } from './fsck.ts';
import { PowerCutDisk } from './power-cut-disk.ts';

const RECORD = 96;
const CACHE_BYTES = 1 << 18;
const LOGS = 3;
const CONFIGS = 2;
const SCRATCH = 8;

/** What must be on the disk from a moment on, until the next one says otherwise. */
interface Promised {
  /** Bytes of each log that were synced. */
  readonly logs: readonly number[];
  /** Each config is one of these versions, the oldest the one that was synced last; 0: it need not be there. */
  readonly configs: readonly (readonly [synced: number, newest: number])[];
}
export interface Report {
  cuts: number;
  /** Sectors, before the power went. */
  discarded: number;
  /** fsck.vfat had nothing to repair in what was left. */
  clean: number;
  /** What it said else, and what the repair at the next mount said: how often, without names and numbers. */
  readonly complaints: Map<string, number>;
  readonly repairs: Map<string, number>;
  readonly lost: string[];
}

/** Number `n` of a log or a config: its bytes are its own. */
function record(seed: number, n: number): Uint8Array {
  const random = seeded(seed * 1e6 + n);
  const words = Uint32Array.from({ length: RECORD / 4 }, () => random() * 2 ** 32);
  return new Uint8Array(words.buffer);
}
const config = (which: number, version: number): Uint8Array =>
  Buffer.concat(Array.from({ length: 1 + (version % 40) }, (_, i) => record(100 + which * 50 + i, version)));

export class PowerCuts {
  private readonly bits: FatBits;
  private readonly random: () => number;
  private readonly disk: PowerCutDisk;
  private readonly volume: FatVolume;
  /** By the moment each began. */
  private readonly promises: { readonly moment: number; readonly promised: Promised }[] = [];
  private readonly logs = Array.from({ length: LOGS }, () => ({ written: 0, synced: 0 }));
  private readonly configs = Array.from({ length: CONFIGS }, () => ({ newest: 0, synced: 0 }));
  readonly report: Report = { cuts: 0, discarded: 0, clean: 0, complaints: new Map(), repairs: new Map(), lost: [] };

  constructor(bits: FatBits, seed: number, operations: number) {
    this.bits = bits;
    this.random = seeded(seed);
    const image = emptyFat(bits).bytes;
    this.disk = new PowerCutDisk(image);
    this.volume = FatVolume.mount(this.disk, { ...mountOptions, cacheBytes: CACHE_BYTES });
    this.promise();
    for (let i = 0; i < operations; i++) this.operate();
    this.report.discarded = this.disk.discarded;
  }
  get moments(): number {
    return this.disk.moments;
  }

  /** One power cut, at a moment, and what fsck makes of it. `folder`: for the image. */
  check(moment: number, folder: string): void {
    // Nothing, everything, or some of what was not flushed has arrived.
    const share = [0, 1, 0.5, this.random()][Math.floor(this.random() * 4)] ?? 1;
    const image = this.disk.cut(moment, () => this.random() < share);
    const promised = this.promisedAt(moment);
    const where = `cut at ${moment} of ${this.disk.moments}, ${share} of what was not flushed`;
    this.report.cuts++;
    const path = join(folder, 'cut.img');
    this.mountAgain(image.slice(), promised, where, path);
    if (fsckMissing) return;
    writeFileSync(path, image);
    const seen = fsck('-n', path);
    if (seen === '') this.report.clean++;
    else count(this.report.complaints, seen);
    // Images of FAT32 are large.
    if (this.bits === 32) return;
    fsck('-a', path);
    const left = fsck('-n', path);
    if (left !== '') this.report.lost.push(`${where}: after fsck -a: ${left}`);
    this.compare(mounted(new MemoryDisk(new Uint8Array(readFileSync(path)))), promised, `${where}, repaired by fsck`);
  }
  /** What the next guest finds, and leaves. */
  private mountAgain(image: Uint8Array, promised: Promised, where: string, path: string): void {
    const log = (line: string): void =>
      count(this.report.repairs, line.replace(/^.*; /, '').replace(/\d+|'[^']*'/g, 'N'));
    try {
      const volume = FatVolume.mount(new MemoryDisk(image), { ...mountOptions, log });
      if (volume.readOnly) this.report.lost.push(`${where}: not repaired`);
      this.compare(volume, promised, where);
      volume.close();
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      this.report.lost.push(`${where}: ${error.message}`);
    }
    if (fsckMissing) return;
    writeFileSync(path, image);
    const left = fsck('-n', path);
    if (left !== '') this.report.lost.push(`${where}: after the repair: ${left}`);
    this.compare(mounted(new MemoryDisk(image)), promised, `${where}, mounted twice`);
  }

  private promisedAt(moment: number): Promised {
    const first = this.promises.findLast(({ moment: begun }) => begun <= moment);
    if (!first) throw new Error('nothing was promised');
    // What was written later than the last promise may be there too.
    const next = this.promises.find(({ moment: begun }) => begun > moment);
    const configs = first.promised.configs.map(
      ([synced, newest], i) => [synced, Math.max(newest, next?.promised.configs[i]?.[1] ?? newest)] as const,
    );
    return { ...first.promised, configs };
  }
  /** From here on. */
  private promise(): void {
    this.promises.push({
      moment: this.disk.moments,
      promised: {
        logs: this.logs.map(({ synced }) => synced),
        configs: this.configs.map(({ synced, newest }) => [synced, newest] as const),
      },
    });
  }

  private compare(volume: FatVolume, { logs, configs }: Promised, where: string): void {
    try {
      for (const [i, bytes] of logs.entries()) {
        if (bytes === 0) continue;
        const found = filesOn(volume).readFile(`logs/number ${i}.log`);
        for (let n = 0; (n + 1) * RECORD <= bytes; n++) {
          if (Buffer.compare(found.subarray(n * RECORD, (n + 1) * RECORD), record(i, n)) === 0) continue;
          this.report.lost.push(
            `${where}: log ${i}, record ${n} of ${bytes / RECORD}; the file has ${found.length} bytes`,
          );
          break;
        }
      }
      for (const [i, [synced, newest]] of configs.entries()) {
        if (synced === 0) continue;
        // Both names may lead to the new one, and a repair leaves it to one of them.
        const found = [`etc/config ${i}`, `etc/config ${i}.new`]
          .filter(name => filesOn(volume).exists(name))
          .map(name => filesOn(volume).readFile(name));
        const right = (bytes: Uint8Array): boolean => {
          for (let v = synced; v <= newest; v++) if (Buffer.compare(bytes, config(i, v)) === 0) return true;
          return false;
        };
        if (!found.some(right)) {
          const sizes = found.map(bytes => bytes.length);
          this.report.lost.push(`${where}: config ${i} is none of versions ${synced} to ${newest}: ${sizes}`);
        }
      }
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      this.report.lost.push(`${where}: ${error.message}`);
    }
  }

  // ---- the workload ----

  private operate(): void {
    const { volume } = this;
    const pick = (n: number): number => Math.floor(this.random() * n);
    if (!filesOn(volume).exists('logs')) filesOn(volume).mkdir('logs');
    const act = pick(13);
    try {
      if (act < 4) this.append(pick(LOGS), act < 3);
      else if (act < 6) this.replace(pick(CONFIGS), act === 4);
      else if (act === 12) volume.settle();
      else this.scratch(act, pick(SCRATCH));
    } catch (error) {
      // Full: what was there stays.
      if (!(error instanceof XenError && error.code === 'ENOSPC')) throw error;
      for (let i = 0; i < SCRATCH; i++) this.drop(`scratch/file number ${i}`);
    }
    this.promise();
  }
  private append(i: number, sync: boolean): void {
    const log = this.logs[i];
    if (!log) return;
    const count = 1 + Math.floor(this.random() * 30);
    const bytes = Buffer.concat(Array.from({ length: count }, (_, n) => record(i, log.written / RECORD + n)));
    filesOn(this.volume).appendFile(`logs/number ${i}.log`, bytes, sync);
    log.written += bytes.length;
    if (sync) log.synced = log.written;
  }
  /** As careful programs do: a new file, synced, takes the old one's name. */
  private replace(i: number, sync: boolean): void {
    const state = this.configs[i];
    if (!state) return;
    const { volume } = this;
    filesOn(volume).mkdir('etc', true);
    // Names come and go between, so that old and new are in different sectors at times.
    const between = `etc/something with a long name, ${Math.floor(this.random() * 9)}`;
    if (filesOn(volume).exists(between)) filesOn(volume).remove(between);
    else filesOn(volume).writeFile(between, new Uint8Array(700));
    filesOn(volume).writeFile(`etc/config ${i}.new`, config(i, state.newest + 1), true);
    state.newest++;
    const etc = volume.root.lookup('etc');
    try {
      etc?.rename(`config ${i}.new`, etc, `config ${i}`);
    } finally {
      etc?.release();
    }
    if (!sync) return;
    volume.sync();
    state.synced = state.newest;
  }
  /** What nobody has promised anything of: it takes clusters and gives them back. */
  private scratch(act: number, n: number): void {
    const { volume } = this;
    const name = `scratch/file number ${n}`;
    filesOn(volume).mkdir('scratch', true);
    if (act === 6) filesOn(volume).writeFile(name, new Uint8Array(this.random() * 120_000).fill(n + 1));
    else if (act === 7) this.drop(name);
    else if (act === 8 && filesOn(volume).exists(name))
      filesOn(volume).truncate(name, Math.floor(this.random() * filesOn(volume).stat(name).size));
    else if (act === 9) this.unlinkOpen(name);
    else if (act === 10) filesOn(volume).mkdir(`scratch/d${n}/inner directory`, true);
    else if (filesOn(volume).exists(`scratch/d${n}`)) {
      if (filesOn(volume).exists(`scratch/d${n}/inner directory`))
        filesOn(volume).remove(`scratch/d${n}/inner directory`);
      filesOn(volume).remove(`scratch/d${n}`);
    }
  }
  private drop(path: string): void {
    if (filesOn(this.volume).exists(path)) filesOn(this.volume).remove(path);
  }
  private unlinkOpen(path: string): void {
    const directory = this.volume.root.lookup('scratch');
    const name = path.slice('scratch/'.length);
    const file = directory?.lookup(name);
    if (directory && file) {
      directory.unlink(name);
      filesOn(this.volume).appendFile('logs/number 0.log', new Uint8Array(0), true);
    }
    file?.release();
    directory?.release();
  }
}

/** Cuts of several workloads, at every moment or, when there are more than `cuts`, at so many of them. */
export function cutPower(bits: FatBits, seed: number, operations: number, cuts: number): Report {
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-power-'));
  try {
    const run = new PowerCuts(bits, seed, operations);
    const step = Math.max(1, run.moments / cuts);
    for (let moment = 0; moment <= run.moments; moment += step) run.check(Math.floor(moment), folder);
    return run.report;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function describeCuts({ cuts, clean, complaints, repairs, lost }: Report): string {
  const listed = (of: Map<string, number>): string[] =>
    [...of].sort((a, b) => b[1] - a[1]).map(([line, times]) => `  ${times} × ${line}`);
  return [
    `${cuts} cuts, ${clean} images with nothing to repair; lost: ${lost.length}`,
    'fsck.vfat said:',
    ...listed(complaints),
    'the next mount said:',
    ...listed(repairs),
    ...lost.slice(0, 10),
  ].join('\n');
}
