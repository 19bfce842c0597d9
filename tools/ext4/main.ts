// npm run ext4: builds the driver that guests mount ext4 with, and puts it where domains get it.
//
//   npm run ext4                        with e2fsprogs' sources from Debian's mirror
//   npm run ext4 -- --source DIRECTORY  with those, unpacked
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildExt4, E2FSPROGS, INSTALLED, installExt4, whyNoCompiler } from './build.ts';
import { fetchDebianSource } from './debian-source.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { source: { type: 'string' } } });
  const missing = whyNoCompiler();
  if (missing !== undefined) throw new Error(missing);
  const work = mkdtempSync(join(tmpdir(), 'xenolith-ext4-'));
  try {
    const source = values.source ?? join(work, 'source');
    if (values.source === undefined) {
      console.error(`fetching ${E2FSPROGS.name} ${E2FSPROGS.version} from Debian's mirror`);
      await fetchDebianSource(E2FSPROGS, source);
    }
    console.error("compiling with Debian's clang and wasi-libc");
    const built = join(work, 'ext4.wasm');
    await buildExt4(source, join(work, 'objects'), built);
    installExt4(built);
    console.log(`${INSTALLED}: ${Math.round(statSync(INSTALLED).size / 1024)} KiB, for hosts that start from now on`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

main().catch(error => {
  console.error(`ext4: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
});
