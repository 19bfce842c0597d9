// Every call of preview1 as its interface and the public test suite want it, made by a program on each kind of file
// system: `programs/preview1` has the acts by name.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { prepareProgram, systemClock } from '#pvbus';
import { exitNumber } from '../../domu-kernel/process/process.ts';
import { ext4Kinds } from '../support/ext4-kinds.ts';
import { kinds } from '../support/file-systems.ts';
import { UserlandRig } from '../support/userland-rig.ts';
import { compileWasi, whyNoWasi } from '../support/wasi-cc.ts';

const missing = whyNoWasi();
const folder = fileURLToPath(new URL('programs/preview1/', import.meta.url));
const sources = readdirSync(folder)
  .filter(name => name.endsWith('.c'))
  .map(name => folder + name);
const acts = sources.flatMap(source =>
  [...readFileSync(source, 'utf8').matchAll(/\{"([a-z-]+)", [a-z]\w+\}/g)].map(([, name]) => name!),
);

/** Each act as a process of its own, in a directory of its own: what was wrong, by its name. */
function failures(
  rig: UserlandRig,
  program: Uint8Array,
  cwd: string,
  names: readonly string[],
): Record<string, string> {
  rig.write('/acts.wasm', program);
  const { terminal } = rig.userland;
  const wrong: Record<string, string> = {};
  for (const name of names) {
    const from = rig.screen.length;
    let code: number | undefined;
    rig.userland.spawn({
      argv: ['/acts.wasm', name, '.'],
      cwd,
      stdio: [terminal, terminal, terminal],
      onEnd: status => {
        code = exitNumber(status);
      },
    });
    rig.run({ until: () => code !== undefined });
    if (code !== 0) wrong[name] = `${code}: ${rig.screen.slice(from)}`;
  }
  return wrong;
}

/** FAT has no links and keeps times in two seconds. */
const NOT_ON_FAT = [
  ...['dangling', 'hard-link', 'hard-link-of-symlink', 'hard-link-refused', 'loop', 'not-followed', 'outwards'],
  ...['stat-of-symlink', 'symlink-with-slash', 'target-of', 'what-there-is', 'size-and-times', 'times-by-path'],
];

let prepared: Uint8Array;
beforeAll(async () => {
  if (missing === undefined)
    prepared = prepareProgram(readFileSync(await compileWasi(sources, { flags: ['-O1', '-g0'] })));
}, 60_000);

describe.skipIf(missing !== undefined)(`preview1${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const tried = [...kinds, ...ext4Kinds].filter(({ name }) => /^(tmpfs|9p|FAT32|ext4)$/.test(name));
  it.each(tried)('on $name', ({ make, symlinks }) => {
    const rig = new UserlandRig({ clock: systemClock });
    const root = rig.mounts.find('/');
    root.create('w', 'directory').release();
    root.release();
    rig.mounts.mount('/w', make().fs);
    const here = acts.filter(name => symlinks || !NOT_ON_FAT.includes(name));
    expect(here.length).toBeGreaterThan(30);
    expect(failures(rig, prepared, '/w', here)).toEqual({});
  });
});
