// Xen has none of this; the file is resolv.conf(5)'s.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { nameServer } from '../../../../../dom0/backends/pvcalls/name-server.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-resolv-'));
afterAll(() => rmSync(dir, { recursive: true }));

it.each([
  ['# a comment\nsearch home\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n', '192.0.2.53'],
  ['  nameserver\t2001:db8::53  \n', '2001:db8::53'],
  ['nameserver somewhere\nnameserver 192.0.2.53', '192.0.2.53'],
  ['nameservers 192.0.2.53\n', '127.0.0.1'],
  ['', '127.0.0.1'],
])('of %j the name server is %s', (text, expected) => {
  const file = join(dir, 'resolv.conf');
  writeFileSync(file, text);
  expect(nameServer(file)).toBe(expected);
});
it('without the file it is this machine', () => {
  expect(nameServer(join(dir, 'none'))).toBe('127.0.0.1');
});
