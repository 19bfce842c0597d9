// Every table of pvbus/abi/ against what the C compiler makes of Xen's public headers.
// The golden file is that compiler's answer, committed, so that a machine without the headers can compare too.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as pvbus from '#pvbus';
import { abiTables, NOT_IN_HEADERS } from '../../tools/layouts/abi-tables.ts';
import { askGcc, type Golden, whyNoCompiler } from '../../tools/layouts/ask-gcc.ts';

const golden: Golden = JSON.parse(readFileSync(new URL('golden/xen-4.17-x86_64.json', import.meta.url), 'utf8'));
const abi = await abiTables();
const noCompiler = whyNoCompiler();

describe('the tables of pvbus/abi', () => {
  it('describe the very structs the golden file has', () => {
    expect(Object.keys(abi.structs).sort()).toEqual(Object.keys(golden.structs));
    expect(Object.keys(abi.structs).length).toBeGreaterThan(150);
  });

  it.each(Object.keys(abi.structs))('%s has C’s size, offsets, field sizes and signs', name => {
    expect(abi.structs[name]).toEqual(golden.structs[name]);
  });

  it('have C’s numbers under C’s names', () => {
    const known = Object.fromEntries(Object.entries(abi.constants).filter(([name]) => !(name in NOT_IN_HEADERS)));
    expect(known).toEqual(golden.constants);
    expect(Object.keys(known).length).toBeGreaterThan(600);
  });

  it('excuse no number that is not there', () => {
    expect(Object.keys(NOT_IN_HEADERS).filter(name => !(name in abi.constants))).toEqual([]);
  });

  it('have C’s texts', () => {
    expect(abi.strings).toEqual(golden.strings);
    expect(abi.xsd_errors).toEqual(golden.xsd_errors);
  });
});

it('every name of pvbus/abi reaches the public surface: no two files export the same one', () => {
  const missing = [...Object.keys(abi.structs), ...Object.keys(abi.constants), ...Object.keys(abi.strings)].filter(
    name => !(name in pvbus) && !name.startsWith('XenbusState'),
  );
  expect(missing).toEqual([]);
});

describe.skipIf(noCompiler !== undefined)(`the golden file${noCompiler ? ` (skipped: ${noCompiler})` : ''}`, () => {
  it('is what gcc says today', () => {
    expect(askGcc(abi)).toEqual(golden);
  });
});
