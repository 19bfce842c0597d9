// xl build-ext4: makes the driver that guests mount ext4 with, and puts it where domains get it.

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { messageOf } from '#pvbus';
import { buildExt4, E2FSPROGS, INSTALLED, installExt4, whyNoCompiler, whyNotInstallable } from '../ext4/build.ts';
import { fetchDebianSource } from '../ext4/debian-source.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [{ name: 'source', as: 'source', value: true }], 0, 0);
  if (typeof line === 'number') return line;
  const missing = whyNotInstallable() ?? whyNoCompiler();
  if (missing !== undefined) throw new CommandFailure(`xl build-ext4: ${missing}`);
  const interrupted = context.io.interrupted();
  const work = mkdtempSync(join(tmpdir(), 'xenolith-ext4-'));
  try {
    const given = line.value('source');
    const source = given === undefined ? join(work, 'source') : resolve(context.io.cwd, given);
    if (given === undefined) {
      context.err(`fetching ${E2FSPROGS.name} ${E2FSPROGS.version} from Debian's mirror`);
      await fetchDebianSource(E2FSPROGS, source, interrupted);
    }
    context.err("compiling with Debian's clang and wasi-libc");
    const built = join(work, 'ext4.wasm');
    await buildExt4(source, join(work, 'objects'), built, interrupted);
    installExt4(built);
    context.out(`${INSTALLED}: ${Math.round(statSync(INSTALLED).size / 1024)} KiB, for hosts that start from now on`);
    return 0;
  } catch (error) {
    throw new CommandFailure(`xl build-ext4: ${interrupted.aborted ? 'interrupted' : messageOf(error)}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
};
