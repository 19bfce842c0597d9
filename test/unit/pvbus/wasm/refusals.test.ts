import { describe, expect, test } from 'vitest';
import { PREPARED_VERSION, preparedLayout, prepareProgram, XenError } from '#pvbus';
import { WebAssemblyEngine as engine } from '../../../../domu-kernel/process/web-assembly.ts';
import { commandOf, moduleOf, text } from '../../../support/tiny-module.ts';

const EXTERNREF = 0x6f;

describe('a program that cannot be prepared is refused with ENOEXEC and the reason', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing at all', new Uint8Array(0), /\\0asm/],
    ['text', Buffer.from('#!/bin/sh\necho'), /\\0asm/],
    ['a component', Uint8Array.of(0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0), /version 1/],
    [
      'an imported memory',
      commandOf([], { 2: [1, ...text('env'), ...text('m'), 2, 0, 1] }),
      /imports the memory env\.m/,
    ],
    [
      'names with lines and colours of their own, whose reason is one line of plain text',
      commandOf([], { 2: [1, ...text('env\x1b[31m'), ...text('m\nxl: all is well'), 2, 0, 1] }),
      /imports the memory env\?\[31m\.m\?xl: all is well$/,
    ],
    ['an imported global', commandOf([], { 2: [1, ...text('env'), ...text('g'), 3, 0x7f, 0] }), /imports the global/],
    ['shared memory', commandOf([], { 5: [1, 3, 1, 2] }), /shares its memory/],
    ['64-bit memory', commandOf([], { 5: [1, 4, 1] }), /64-bit/],
    ['two memories', commandOf([], { 5: [2, 0, 1, 0, 1] }), /several memories/],
    ['an index of a memory', commandOf([0x41, 0, 0x28, 0x42, 1, 0, 0x1a]), /several memories/],
    [
      'no memory',
      moduleOf([1, [1, 0x60, 0, 0]], [3, [1, 0]], [7, [1, ...text('_start'), 0, 0]], [10, [1, 2, 0, 0x0b]]),
      /no memory/,
    ],
    ['a memory that is too large', commandOf([], { 5: [1, 0, 0x81, 0x80, 0x04] }), /larger than 4 GiB/],
    ['a memory with no room left', commandOf([], { 5: [1, 0, 0xff, 0xff, 0x03] }), /no room/],
    ['no _start', commandOf([], { 7: [0] }), /no _start/],
    ['a reactor', commandOf([], { 7: [1, ...text('_initialize'), 0, 0] }), /reactor/],
    ['a _start with parameters', commandOf([], { 1: [1, 0x60, 1, 0x7f, 0] }), /not one of a WASI command/],
    ['a start function', commandOf([], { 8: [0] }), /start function/],
    ['names of ours', commandOf([], { 7: [1, ...text('xenolith_sp'), 0, 0] }), /xenolith_sp/],
    ['an atomic instruction', commandOf([0xfe, 3, 0]), /threads/],
    ['a tail call', commandOf([0x12, 0]), /tail calls/],
    ['a try_table', commandOf([0x1f, 0x40, 0, 0x0b]), /exceptions of the new kind/],
    ['an object', commandOf([0xfb, 0]), /garbage/],
    ['a catch without a try', commandOf([0x03, 0x40, 0x19, 0x0c, 0, 0x0b]), /catch without/],
    ['a delegate without a try', commandOf([0x03, 0x40, 0x02, 0x40, 0x0c, 1, 0x18, 0, 0x0b]), /delegate without/],
    [
      'what is thrown again behind a call that may wait',
      commandOf([0x06, 0x40, 0x10, 0, 0x19, 0x09, 0, 0x0b]),
      /throws again/,
    ],
    ['a section that is not there', commandOf([], { 14: [0] }), /no section 14/],
    ['an instruction that is not there', commandOf([0xff]), /no instruction 0xff/],
    ['a type that is not there', commandOf([], { 3: [1, 9] }), /no type 9/],
    ['a function that is not there', commandOf([0x10, 9]), /no function 9/],
    ['a label that is not there', commandOf([0x0c, 9]), /no label 9/],
    ['an else without an if', commandOf([0x03, 0x40, 0x05, 0x0c, 0, 0x0b]), /else without/],
    ['an operand that is missing', commandOf([0x03, 0x40, 0x6a, 0x1a, 0x0c, 0, 0x0b]), /operand is missing/],
    ['an operand too many', commandOf([0x03, 0x40, 0x41, 0, 0x41, 0, 0x0d, 0, 0x0b]), /left over/],
    [
      'more locals than may be',
      commandOf([], { 10: [1, 8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b] }),
      /50000 local/,
    ],
    ['a vector longer than the file', commandOf([], { 3: [0xff, 0xff, 0xff, 0xff, 0x0f, 0] }), /cut short/],
    ['a number that is too long', commandOf([], { 3: [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0] }), /longer than 32 bits/],
    [
      'a reference that is held across a call',
      commandOf([0x03, 0x40, 0x20, 0, 0x1a, 0x0c, 0, 0x0b], {
        10: [1, 14, 1, 1, EXTERNREF, 0x03, 0x40, 0x20, 0, 0x1a, 0x10, 0, 0x0c, 0, 0x0b, 0x0b],
      }),
      /reference/,
    ],
  ])('%s', (_, bytes, why) => {
    let thrown: unknown;
    try {
      prepareProgram(bytes);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(XenError);
    expect(thrown).toMatchObject({ code: 'ENOEXEC', message: expect.stringMatching(why) });
    expect((thrown as Error).message).not.toContain('\n');
  });

  test('but a plain one is not, and says afterwards that it is prepared', () => {
    const prepared = prepareProgram(commandOf([]));
    const layout = { version: PREPARED_VERSION, minPages: 1, maxPages: 65536, savePages: 1, movable: true };
    expect(preparedLayout(prepared)).toEqual(layout);
    expect(() => prepareProgram(prepared)).toThrow(/prepared/);
    new engine.Module(prepared);
  });
});
