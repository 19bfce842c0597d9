// The names in one directory, as they are on the disk, found by any spelling. FatFs' own f_stat returns the name it was
// asked for, which is no way to tell whether two spellings are one file.

import { XenError } from '#pvbus';
import type { FatCore } from './fat-core.ts';
import { type FatInfo, readInfo, readShortName } from './fat-info.ts';

/** FAT's own bound on a directory is 2 MiB of 32-byte entries. */
const MAX_ENTRIES = 65536;
const IS_ASCII = /^[ -~]*$/;

interface Named {
  readonly info: FatInfo;
  readonly keys: readonly string[];
}

export class FatNames {
  private readonly core: FatCore;
  /** By every name folded, the short ones included. In the disk's order. */
  private readonly byKey = new Map<string, Named>();
  /** Names were put whose short ones FatFs has made and not said: it numbers them ('~1'), or has left accents out. */
  private numbered = false;
  private bare = false;

  private constructor(core: FatCore) {
    this.core = core;
  }

  static read(core: FatCore, what: string, path: string): FatNames {
    const names = new FatNames(core);
    const dir = core.alloc(core.x.sizeof_DIR());
    try {
      core.call(what, () => core.x.f_opendir(dir, core.putString(core.path, path)));
      for (let n = 0; ; n++) {
        core.call(what, () => core.x.f_readdir(dir, core.info));
        const info = readInfo(core);
        if (info.name === '') return names;
        if (n === MAX_ENTRIES) throw new XenError('EIO', `${what}: the directory has no end`);
        names.put(info, readShortName(core));
        names.numbered = names.bare = false;
      }
    } finally {
      core.x.free(dir);
    }
  }

  get(name: string): FatInfo | undefined {
    return this.byKey.get(this.key(name))?.info;
  }
  /** It may be a name of something here that `get` does not know. */
  mayBe(name: string): boolean {
    return this.bare || (this.numbered && name.includes('~'));
  }
  /** As it is now, in place of what was there under that name. */
  put(info: FatInfo, shortName = ''): void {
    const key = this.key(info.name);
    let keys = this.byKey.get(key)?.keys;
    if (!keys) {
      keys = shortName === '' ? [key] : [key, this.key(shortName)];
      this.numbered = true;
      this.bare ||= !IS_ASCII.test(info.name);
    }
    const named = { info, keys };
    for (const each of keys) this.byKey.set(each, named);
  }
  delete(name: string): void {
    for (const key of this.byKey.get(this.key(name))?.keys ?? []) this.byKey.delete(key);
  }
  list(): FatInfo[] {
    return [...new Set(this.byKey.values())].map(({ info }) => info);
  }

  /** As FatFs compares: dots and spaces at the end do not count, nor does case. */
  private key(name: string): string {
    const { x } = this.core;
    const trimmed = name.replace(/[. ]+$/, '');
    let key = '';
    for (let i = 0; i < trimmed.length; i++) {
      const unit = trimmed.charCodeAt(i);
      if (unit < 0x80) key += unit >= 97 && unit <= 122 ? String.fromCharCode(unit - 32) : trimmed[i];
      else key += String.fromCharCode(x.ff_wtoupper(unit));
    }
    return key;
  }
}
