// Compile offsets.c against the installed Xen headers and read its answers.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Abi, NOT_IN_HEADERS } from './abi-tables.ts';

export type Golden = Abi & { readonly interface_version: number };

/** Why this machine cannot ask, or undefined when it can. */
export function whyNoCompiler(): string | undefined {
  if (!existsSync('/usr/include/xen/xen.h')) return 'no /usr/include/xen (Debian: libxen-dev)';
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'no gcc';
  }
  return undefined;
}

/** Compile `source` to `program`; throws with gcc's messages. */
export function compile(source: string, program: string, ...options: string[]): void {
  const flags = ['-std=gnu11', '-O1', '-Wall', '-Werror', ...options];
  execFileSync('gcc', [...flags, '-o', program, source], { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** questions.h: one line for everything the tables claim. */
function questions(abi: Abi): string {
  const types: string[] = [];
  const structs: string[] = [];
  for (const [name, { fields }] of Object.entries(abi.structs)) {
    types.push(`#ifndef AS_${name}`, `#define AS_${name} struct ${name}`, '#endif');
    types.push(`#ifndef SIZE_${name}`, `#define SIZE_${name} sizeof(AS_${name})`, '#endif');
    structs.push(`STRUCT(${name}, SIZE_${name})`);
    for (const field of Object.keys(fields)) structs.push(`FIELD(AS_${name}, ${field})`);
    structs.push('END()');
  }
  const constants = Object.keys(abi.constants).filter(name => !(name in NOT_IN_HEADERS));
  return [
    ...types,
    '#ifdef ASK_STRUCTS',
    ...structs,
    '#endif',
    '#ifdef ASK_CONSTANTS',
    ...constants.map(name => `CONSTANT(${name})`),
    '#endif',
    '#ifdef ASK_STRINGS',
    ...Object.keys(abi.strings).map(name => `STRING(${name})`),
    '#endif',
    '',
  ].join('\n');
}

/** What the C compiler says of everything in `abi`. */
export function askGcc(abi: Abi): Golden {
  const source = fileURLToPath(new URL('offsets.c', import.meta.url));
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-layouts-'));
  try {
    const program = join(dir, 'offsets');
    writeFileSync(join(dir, 'questions.h'), questions(abi));
    compile(source, program, '-Wno-unused-function', '-I', dir);
    return JSON.parse(execFileSync(program, { encoding: 'utf8', maxBuffer: 16 << 20 }));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
