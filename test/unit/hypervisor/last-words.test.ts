import { expect, it } from 'vitest';
import { LastWords } from '../../../hypervisor/last-words.ts';

const lastOf = (text: string): string | undefined => {
  const words = new LastWords();
  for (const line of text.split('\n')) words.hear(line);
  return words.text;
};

it('of a full heap it is what V8 says of it, and not of its collector or of the stack', () => {
  const printed = [
    '<--- Last few GCs --->',
    '',
    '[1:0x5e]      412 ms: Mark-sweep 2047.3 (2083.4) -> 2046.9 (2083.1) MB',
    '',
    'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
    '----- Native stack trace -----',
    ' 1: 0xb8ced1 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]',
  ];
  expect(lastOf(printed.join('\n'))).toBe(printed[4]);
});
it('of an error that nobody has caught it is the error, and not a line of its stack', () => {
  expect(lastOf('TypeError: no x\n    at readError (node:internal/errors:4:5)\n\nNode.js v20.19.0')).toBe(
    'TypeError: no x',
  );
});
it('of a check of V8 that failed it is the check', () => {
  expect(
    lastOf('#\n# Fatal error in , line 0\n# Check failed: 0 == mprotect(a).\n#\n#FailureMessage Object: 0x7f'),
  ).toBe('# Check failed: 0 == mprotect(a).');
});
it('of who speaks of no error it is the last line, and of who is silent nothing', () => {
  expect(lastOf('one\ntwo\n')).toBe('two');
  expect(lastOf('\n \n')).toBeUndefined();
});
