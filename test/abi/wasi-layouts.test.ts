// Every table and number of wasi/abi.ts and wasi/errno.ts against what clang makes of wasi-libc's wasi/api.h.
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import type { Struct } from '#pvbus';
import * as abi from '../../domu-kernel/wasi/abi.ts';
import { WASI_ERRNO } from '../../domu-kernel/wasi/errno.ts';
import { whyNoWasi } from '../support/wasi-cc.ts';

const missing = whyNoWasi();

const isStruct = (value: unknown): value is Struct =>
  typeof value === 'object' && value !== null && 'fields' in value && 'align' in value;
/** Snapshot 0's are in no header of Debian's, nor is the kind of preopens that are sockets. */
const exported = Object.entries(abi as Record<string, unknown>).filter(
  ([name]) => !name.endsWith('_0') && name !== 'PREOPENTYPE_OTHER',
);

function* assertions(): Generator<string> {
  for (const [name, value] of exported) {
    if (typeof value === 'number') yield `__WASI_${name} == ${value}`;
    if (!isStruct(value)) continue;
    yield `sizeof(__wasi_${name}_t) == ${value.size}`;
    yield `_Alignof(__wasi_${name}_t) == ${value.align}`;
    for (const [field, offset] of Object.entries(value.at)) {
      yield `offsetof(__wasi_${name}_t, ${field}) == ${offset}`;
    }
  }
  for (const [name, number] of Object.entries(WASI_ERRNO)) {
    yield `__WASI_ERRNO_${name === 'SUCCESS' ? name : name.slice(1)} == ${number}`;
  }
}

/** What clang says of a file with these assertions; '' when all hold. */
function clang(claims: Iterable<string>): string {
  const lines = [...claims].map(claim => `_Static_assert(${claim}, "");`);
  const { stderr, status } = spawnSync(
    'clang',
    ['--target=wasm32-wasi', '-nostdlibinc', '-isystem', '/usr/include/wasm32-wasi', '-fsyntax-only', '-x', 'c', '-'],
    { input: ['#include <stddef.h>', '#include <wasi/api.h>', ...lines].join('\n'), encoding: 'utf8' },
  );
  return status === 0 ? '' : stderr;
}

it.skipIf(missing !== undefined)(`wasi/abi.ts is api.h${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const claims = [...assertions()];
  expect(claims.length).toBeGreaterThan(200);
  expect(clang(claims)).toBe('');
  expect(clang(['sizeof(__wasi_filestat_t) == 63'])).not.toBe('');
});
