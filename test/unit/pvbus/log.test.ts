import { expect, it } from 'vitest';
import { streamLog } from '#pvbus';

it('writes one line per call, with the level where it is not information', () => {
  const out: string[] = [];
  const log = streamLog({ write: text => out.push(text) }, 'blkback');
  log.info('dom3 xvda: connected');
  log.warn('dom3 xvda: slow');
  log.error('dom3 xvda: gone');
  expect(out).toEqual([
    'blkback: dom3 xvda: connected\n',
    'blkback: warning: dom3 xvda: slow\n',
    'blkback: error: dom3 xvda: gone\n',
  ]);
});

it('puts the wall time first when it has a clock', () => {
  const out: string[] = [];
  streamLog({ write: text => out.push(text) }, 'host', { now: () => 0, wallMs: () => 0 }).info('up');
  expect(out).toEqual(['1970-01-01T00:00:00.000Z host: up\n']);
});

it('a guest that is quoted cannot forge lines or drive the terminal', () => {
  const out: string[] = [];
  streamLog({ write: text => out.push(text) }, 'dom0').info('name is "a\ndom0: all well\u001b[2J\u009b"');
  expect(out).toEqual(['dom0: name is "a\\x0adom0: all well\\x1b[2J\\x9b"\n']);
});
