import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { answer, exploreConfigs, plain } from '../../../fuzz/config/explore.ts';
import { Libxlutil, readAnswer } from '../../../support/xlu-config.ts';

const VECTORS = join(import.meta.dirname, '../../../vectors/xl-cfg');

describe('xl.cfg, against answers of the real parser', () => {
  const names = readdirSync(VECTORS).filter(name => name.endsWith('.cfg'));
  it('has all 55 of them', () => {
    expect(names).toHaveLength(55);
  });
  it.each(names)('%s', name => {
    const expected = readAnswer(readFileSync(join(VECTORS, `edge-${name}.json`), 'utf8'));
    expect(plain(answer(readFileSync(join(VECTORS, name))))).toEqual(plain({ ...expected }));
  });
});

const real = Libxlutil.build();
afterAll(() => {
  if (typeof real !== 'string') real.remove();
});

describe.skipIf(typeof real === 'string')(
  `xl.cfg, against libxlutil itself${typeof real === 'string' ? ` (skipped: ${real})` : ''}`,
  () => {
    it('any file is read and reported alike, whatever tokens, rubbish and disks are in it', () => {
      expect(exploreConfigs(real as Libxlutil, randomInt(2 ** 31), 300)).toBeUndefined(); // skipped otherwise
    });
  },
);
