// xl store beside Debian's xenstore-* clients: the same output, the same effects, on our daemon and on Debian's.
// xl runs as the program it is. Skipped where xenstore-utils is not installed.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { socketTransport, XenstoreClient } from '#pvbus';
import { LoneXenstored } from '../../../support/lone-xenstored.ts';
import { start as startReal, whyNot } from '../../../support/real-xenstored.ts';

const XL = fileURLToPath(new URL('../../../../dist/xl.js', import.meta.url));
const missing = ['ls', 'read', 'write', 'rm', 'chmod']
  .map(name => `/usr/bin/xenstore-${name}`)
  .filter(path => !existsSync(path));
if (missing.length > 0) console.warn(`skipped: ${missing.join(', ')} not installed (Debian: xenstore-utils)`);

interface Daemon {
  readonly socket: string;
  stop(): Promise<void>;
}
interface Ran {
  readonly code: number;
  readonly stdout: Buffer;
}

const DAEMONS: readonly (readonly [string, string | undefined, () => Promise<Daemon>])[] = [
  ['xenolith', undefined, () => LoneXenstored.start()],
  ['Debian, in C', whyNot('c'), () => startReal('c')],
];

describe.each(DAEMONS)('on the daemon of %s', (name, reason, start) => {
  const skipped = reason !== undefined || missing.length > 0;
  if (reason !== undefined) console.warn(`skipped: the daemon of ${name}: ${reason}`);

  describe.skipIf(skipped)('xl store and the C clients', () => {
    let daemon: Daemon;
    let xs: XenstoreClient;
    beforeAll(async () => {
      daemon = await start();
      xs = new XenstoreClient(await socketTransport(daemon.socket));
      await fill(xs);
    });
    afterAll(async () => {
      xs?.close();
      await daemon?.stop();
    });
    const run = (program: string, args: readonly string[]): Promise<Ran> =>
      new Promise(resolve => {
        const env = { ...process.env, XENSTORED_PATH: daemon.socket };
        execFile(program, args, { env, encoding: 'buffer', maxBuffer: 1 << 26 }, (error, stdout) => {
          resolve({ code: error ? Number(error.code ?? -1) : 0, stdout });
        });
      });
    const xl = (...args: string[]): Promise<Ran> => run(process.execPath, [XL, 'store', ...args]);
    const c = (command: string, ...args: string[]): Promise<Ran> => run(`/usr/bin/xenstore-${command}`, args);

    it.each([
      [['-f']],
      [['-f', '-p']],
      [['-f', '/values']],
      [['-f', 'relative']],
      [['-fp', '/wide']],
      [['-p', '/short']],
    ])('list the same bytes: ls %j', async args => {
      const expected = await c('ls', ...args);
      expect(expected.code).toBe(0);
      expect(expected.stdout.length).toBeGreaterThan(30);
      const got = await xl('ls', ...args);
      expect(got.code).toBe(0);
      expect(got.stdout.toString('latin1')).toBe(expected.stdout.toString('latin1'));
    });

    it('read the same bytes', async () => {
      for (const node of await xs.directory('/values')) {
        const path = `/values/${node}`;
        const { stdout } = await xl('read', path);
        expect(stdout).toEqual(Buffer.from(await xs.readBytes(path)));
        expect(stdout).toEqual((await c('read', '-R', path)).stdout);
      }
    });

    it.each([
      ['write', ['N/a', 'plain']],
      ['write', ['N/a', '\\t\\n\\r\\\\\\"\\\'\\x41\\x4\\0\\101\\1018\\377']],
      ['write', ['-R', 'N/a', 'C:\\temp\\x41']],
      ['write', ['N/a', '1', 'N/deep/er/node', 'größe', 'N/a', '2']],
      ['write', ['N/a', '1', 'N/b ad', '2']],
      ['write', ['N/a', '']],
      ['rm', ['N/old']],
      ['rm', ['N/old', 'N/tree/x']],
      ['rm', ['N/old', 'N/not/there']],
      ['rm', ['N/old', 'N/absent']],
      ['chmod', ['N/tree', 'n0', 'r3', 'b5']],
      ['chmod', ['-r', 'N/tree', 'w7']],
      ['chmod', ['N/absent', 'n0']],
      ['chmod', ['N/tree', 'n0', 'q1']],
    ])('do the same: %s %j', async (command, args) => {
      const before: Record<string, string> = { old: 'x', 'tree/x/y': 'deep', 'tree/z': '' };
      const after: string[] = [];
      const codes: number[] = [];
      for (const [tool, root] of [
        [xl, '/by-xl'],
        [c, '/by-c'],
      ] as const) {
        for (const [path, value] of Object.entries(before)) await xs.write(`${root}/${path}`, value);
        codes.push((await tool(command, ...args.map(arg => arg.replace(/^N/, root)))).code);
        after.push((await c('ls', '-fp', root)).stdout.toString('latin1').replaceAll(`${root}/`, 'N/'));
        await xs.rm(root);
      }
      expect(codes[0]).toBe(codes[1]);
      expect(after[0]).toBe(after[1]);
      expect(after[0]).toContain('N/tree/z');
    });
  });
});

async function fill(xs: XenstoreClient): Promise<void> {
  const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const values: Record<string, string | Uint8Array> = {
    '/values/every': every,
    '/values/after-backslash': Uint8Array.from(every.subarray(0, 128)).map((byte, i) => (i % 2 === 0 ? 92 : byte)),
    '/values/empty': '',
    '/values/quotes': '"\'',
    '/values/utf8': 'größe',
    '/values/long': 'abcdefghi\t'.repeat(150),
    '/short/a/b': 'x'.repeat(40),
    '/short/a/b/c': '',
    '/short/odd': 'y',
    '/local/domain/0/relative/x/y': '1',
  };
  for (const [path, value] of Object.entries(values)) await xs.write(path, value);
  await xs.setPerms('/short/a/b', ['n0', 'r3', 'b5', 'w7']);
  await xs.transaction(async tx => {
    for (let i = 0; i < 800; i++) await xs.write(`/wide/node-${i}`, `${i}`, tx);
  });
}
