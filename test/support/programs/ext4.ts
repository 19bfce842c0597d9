// The ext4 driver, as `xl build-ext4` builds it.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildExt4, E2FSPROGS, OUR_C, whyNoCompiler } from '../../../tools/ext4/build.ts';
import { cachedBuild, hashOf } from '../cached-build.ts';
import { debianSource } from './debian-source.ts';
import { Unavailable } from './unavailable.ts';

/** The path of ext4.wasm. */
export async function ext4Wasm(): Promise<string> {
  const missing = whyNoCompiler();
  if (missing !== undefined) throw new Unavailable(missing);
  const source = await debianSource(E2FSPROGS);
  const ours = readdirSync(OUR_C)
    .filter(file => /\.[ch]$/.test(file))
    .map(file => readFileSync(join(OUR_C, file), 'utf8'));
  return cachedBuild(`ext4-${hashOf([E2FSPROGS.version, ...ours])}.wasm`, async out => {
    try {
      await buildExt4(source, `${out}-objects`, out);
    } finally {
      rmSync(`${out}-objects`, { recursive: true, force: true });
    }
  });
}
