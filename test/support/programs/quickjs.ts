// QuickJS's `qjs`, without its interactive mode: no threads (workers, Atomics) and no other processes.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cachedBuild } from '../cached-build.ts';
import { compileWasi } from '../wasi-cc.ts';
import { debianSource } from './debian-source.ts';

const QUICKJS = { name: 'quickjs', version: '2025.04.26', suite: 'trixie' } as const;
const FILES = ['quickjs', 'cutils', 'dtoa', 'libregexp', 'libunicode', 'quickjs-libc', 'qjs', 'no-repl'];
const OPTIONS = [
  '_GNU_SOURCE',
  ...['SIGNAL', 'PROCESS_CLOCKS', 'GETPID', 'MMAN'].map(name => `_WASI_EMULATED_${name}`),
];
const LIBRARIES = ['signal', 'process-clocks', 'getpid', 'mman'].map(name => `-lwasi-emulated-${name}`);
/** It looks for the end of a stack of 256 KiB unless told `--stack-size 32k`; V8's own may end before. */
const STACK_BYTES = 512 << 10;

export async function quickjs(): Promise<string> {
  const source = await withoutThreads();
  return compileWasi(
    FILES.map(name => join(source, `${name}.c`)),
    {
      key: QUICKJS.version,
      posix: true,
      flags: [
        ...['-O2', '-w', '-Wl,--strip-all', `-Wl,-z,stack-size=${STACK_BYTES}`],
        ...[`-DCONFIG_VERSION="${QUICKJS.version}"`, ...OPTIONS.map(option => `-D${option}`), ...LIBRARIES, '-lm'],
      ],
    },
  );
}

/** Two lines of its sources turn threads on, whatever it is compiled for. */
async function withoutThreads(): Promise<string> {
  const source = await debianSource(QUICKJS);
  return cachedBuild(`quickjs-${QUICKJS.version}-one-thread`, async out => {
    cpSync(source, out, { recursive: true });
    for (const [file, line] of [
      ['quickjs.c', '#define CONFIG_ATOMICS'],
      ['quickjs-libc.c', '#define USE_WORKER'],
    ] as const) {
      const text = readFileSync(join(out, file), 'utf8');
      if (!text.includes(`\n${line}\n`)) throw new Error(`${file} has no ${line}`);
      writeFileSync(join(out, file), text.replace(`\n${line}\n`, '\n\n'));
    }
    const none = 'const unsigned char qjsc_repl[1];\nconst unsigned qjsc_repl_size = 0;\n';
    writeFileSync(join(out, 'no-repl.c'), none);
  });
}
