import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { howEnded } from '../../../hypervisor/end.ts';
import { LoggedWords } from '../../../hypervisor/logged-words.ts';

const AT = '2026-01-01T00:00:00.000Z';
let dir: string;
let fd: number;
let words: LoggedWords;
const log = (...lines: string[]): void => void writeSync(fd, lines.map(line => `${line}\n`).join(''));

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'xl-words-'));
  fd = openSync(join(dir, 'host.log'), 'a');
  words = new LoggedWords(fd, join(dir, 'host.log'));
  log('Error: of another host', `${AT} dom0: error: long ago`);
});
afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

it('of one that has ended are its trouble in the log, and what nobody has put into lines of the log', () => {
  words.starts(1, 'xenstored.js');
  words.starts(2, 'dom0.js');
  words.starts(3, 'dom0.js');
  log(`${AT} xenstored: error: no socket`, `${AT} dom0: error: no xenstored`, `${AT} dom0: starts`);
  expect([words.of(1), words.of(2)]).toEqual(['xenstored: no socket', 'dom0: no xenstored']);
  log('SyntaxError: no brace', '    at dom0.js:1:1', '', 'Node.js v20.20.2', `${AT} xen: warning: an error`);
  expect(words.of(3)).toBe('dom0: SyntaxError: no brace');
  expect(words.of(3)).toBeUndefined();
});
it('of one that has served, or has said nothing, there are none', () => {
  words.starts(1, 'dom0.js');
  words.starts(2, 'xenstored.js');
  words.serves(1);
  log(`${AT} dom0: error: no room`);
  expect([words.of(1), words.of(2), words.of(9)]).toEqual([undefined, undefined, undefined]);
});

it('what a process has printed is not why somebody has killed it', () => {
  const printed = 'Error: no x';
  expect(howEnded({ code: 1, signal: undefined, printed })).toBe('exit code 1, and had printed: Error: no x');
  expect(howEnded({ code: undefined, signal: 'SIGABRT', printed })).toBe('SIGABRT, and had printed: Error: no x');
  expect(howEnded({ code: undefined, signal: 'SIGKILL', printed })).toBe('SIGKILL');
  expect(howEnded({ code: 1, signal: undefined, printed, crash: 'vcpu0: boom' })).toBe('vcpu0: boom');
});
