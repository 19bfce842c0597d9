// Archives that a domain is built with: whatever they hold, unpacking ends, refuses with a XenError at worst, takes no more
// memory than it was given, and leaves nothing in use and nothing outside of the root.

import { unpackArchive } from '../../../domu-kernel/fs/archive.ts';
import { MountTable } from '../../../domu-kernel/fs/mount-table.ts';
import { Tmpfs } from '../../../domu-kernel/fs/tmpfs.ts';
import { XenError } from '../../../pvbus/errors.ts';
import { cpioOf, fixSums, tarOf } from '../../support/archives.ts';
import { pageCounter, wallNs } from '../../support/file-systems.ts';
import fc from '../../support/properties.ts';

const PAGES = 64;
const name = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('a', 'a/b', 'a/b/c', './d', 'a/', 'l', 'l/x', '..', '/a', 'a//b/../c', '', '.'),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 30 }).filter(s => Buffer.byteLength(s) < 100) },
);
const entry = fc.record({
  name,
  type: fc.constantFrom('0', '0', '0', '1', '2', '5', '5', '3', '7', 'x', 'g', 'L', 'K', 'S'),
  link: name,
  data: fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc
      .constantFrom('12 path=a/b\n', '13 path=../x\n', '11 size=99\n', '20 linkpath=/etc/xy\n')
      .map(s => Buffer.from(s)),
  ),
});
const damage = fc.array(fc.tuple(fc.nat(1 << 16), fc.integer({ min: 0, max: 255 })), { maxLength: 6 });

export const archives = fc.property(
  fc.array(entry, { maxLength: 12 }),
  fc.boolean(),
  damage,
  fc.option(fc.nat(1 << 16)),
  (entries, isTar, changes, end) => {
    const whole = isTar ? tarOf(entries) : cpioOf(entries.map(({ name, data }) => ({ name, data })));
    for (const [at, value] of changes) whole[at % whole.length] = value;
    if (isTar && changes.length % 2 === 0) fixSums(whole);
    const archive = end === null ? whole : whole.subarray(0, end % (whole.length + 1));
    const pages = pageCounter(PAGES);
    const fs = new Tmpfs({ pages, limit: 1 << 20, wallNs });
    try {
      unpackArchive(archive, fs.root);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
    }
    if (fs.inUse) throw new Error('something is in use');
    const mounts = new MountTable(fs);
    for (const { name: each } of entries) {
      try {
        mounts.find(`/${each}`).release();
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
      }
    }
    fs.close();
    if (pages.left !== PAGES) throw new Error(`${PAGES - pages.left} pages are lost`);
  },
);
