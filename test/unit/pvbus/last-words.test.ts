import { expect, it } from 'vitest';
import { lastWordsOf } from '../../../pvbus/last-words.ts';

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
  expect(lastWordsOf(printed.join('\n'))).toBe(printed[4]);
});
it('of an error that nobody has caught it is the error, and not a line of its stack', () => {
  expect(lastWordsOf('TypeError: no x\n    at readError (node:internal/errors:4:5)\n\nNode.js v20.19.0')).toBe(
    'TypeError: no x',
  );
});
it('of a module that is not there it is its name, and neither what asked for it nor the version of Node', () => {
  const printed = [
    'node:internal/modules/cjs/loader:1143',
    '  throw err;',
    '  ^',
    '',
    "Error: Cannot find module '/srv/with%20space/hypervisor.js'",
    'Require stack:',
    '- /srv/errors/main.js',
    '    at Module._resolveFilename (node:internal/modules/cjs/loader:1140:15) {',
    "  code: 'MODULE_NOT_FOUND',",
    '  requireStack: []',
    '}',
    '',
    'Node.js v20.20.2',
  ];
  expect(lastWordsOf(printed.join('\n'))).toBe("Error: Cannot find module '/srv/with%20space/hypervisor.js'");
});
it('of an error with a cause it is the error', () => {
  const printed = [
    'XenError: no memory',
    '    at x (y:1:2) {',
    "  code: 'ENOMEM',",
    '  [cause]: Error: mmap failed',
    '}',
  ];
  expect(lastWordsOf([...printed, '', 'Node.js v20.20.2', ''].join('\n'))).toBe('XenError: no memory');
});
it('of a check of V8 that failed it is the check', () => {
  expect(
    lastWordsOf('#\n# Fatal error in , line 0\n# Check failed: 0 == mprotect(a).\n#\n#FailureMessage Object: 0x7f'),
  ).toBe('# Check failed: 0 == mprotect(a).');
});
it('of who speaks of no error it is the last line, and of who is silent nothing', () => {
  expect(lastWordsOf('one\ntwo\n')).toBe('two');
  expect(lastWordsOf('\n \n')).toBeUndefined();
});
