// Lua's interpreter. A pcall is a setjmp, so the module has exceptions (legacy try/catch, tag __c_longjmp).
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { compileWasi } from '../wasi-cc.ts';
import { debianSource } from './debian-source.ts';

const LUA = { name: 'lua5.4', version: '5.4.4', suite: 'bookworm' } as const;

export async function lua(): Promise<string> {
  const source = join(await debianSource(LUA), 'src');
  const files = readdirSync(source).filter(file => /^l.*\.c$/.test(file) && file !== 'luac.c');
  return compileWasi(
    files.map(file => join(source, file)),
    {
      key: LUA.version,
      posix: true,
      setjmp: true,
      flags: [
        ...['-O2', '-w', '-Wl,--strip-all', '-D_WASI_EMULATED_SIGNAL', '-D_WASI_EMULATED_PROCESS_CLOCKS'],
        ...['-lwasi-emulated-signal', '-lwasi-emulated-process-clocks', '-lm'],
      ],
    },
  );
}
