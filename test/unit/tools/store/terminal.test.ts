// xl store as a program: on a pseudo terminal (script, of util-linux), in a pipe, and interrupted.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LoneXenstored } from '../../../support/lone-xenstored.ts';

const XL = fileURLToPath(new URL('../../../../dist/xl.js', import.meta.url));
const SCRIPT = '/usr/bin/script';
if (!existsSync(SCRIPT)) console.warn(`skipped: no ${SCRIPT} (Debian: bsdutils)`);

let xenstored: LoneXenstored;
beforeAll(async () => {
  xenstored = await LoneXenstored.start();
  const xs = await xenstored.client();
  await xs.write('/local/domain/3/name', 'web');
  await xs.write('/local/domain/3/long', 'v'.repeat(200));
  await xs.write('/bin', Uint8Array.of(0x1b, 0xff));
});
afterAll(() => xenstored.stop());

const env = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => {
  const { NO_COLOR, ...rest } = process.env;
  return { ...rest, XENSTORED_PATH: xenstored.socket, ...more };
};
/** What a terminal 60 columns wide is sent. */
function onTerminal(command: string, more: NodeJS.ProcessEnv = {}): Promise<string> {
  const shell = `stty cols 60; exec "${process.execPath}" "${XL}" store ${command}`;
  return new Promise((resolve, reject) => {
    const child = execFile(SCRIPT, ['-qec', shell, '/dev/null'], { env: env(more) }, (error, stdout) => {
      if (error) reject(error);
      else resolve(stdout.replaceAll('\r\n', '\n'));
    });
    child.stdin?.end();
  });
}

describe.skipIf(!existsSync(SCRIPT))('on a terminal', () => {
  it('ls has colours, names domains, and cuts values to the width', async () => {
    expect(await onTerminal('ls /local')).toBe(
      [
        '\x1b[1;34mdomain\x1b[0m\x1b[2m = "\x1b[0m\x1b[2m"\x1b[0m',
        ' \x1b[1;34m3\x1b[0m\x1b[2m = "\x1b[0m\x1b[2m"\x1b[0m\x1b[2m  # web\x1b[0m',
        `  \x1b[36mlong\x1b[0m\x1b[2m = "\x1b[0m\x1b[32m${'v'.repeat(45)}\\...\x1b[0m\x1b[2m"\x1b[0m`,
        '  \x1b[36mname\x1b[0m\x1b[2m = "\x1b[0m\x1b[32mweb\x1b[0m\x1b[2m"\x1b[0m',
        '',
      ].join('\n'),
    );
  });

  it('ls -f and ls --json cut nothing', async () => {
    expect(await onTerminal('ls -f /local')).toContain('v'.repeat(200));
    expect(JSON.parse(await onTerminal('ls --json /local'))[2]).toEqual({
      ...{ path: '/local/domain/3/long', value: 'v'.repeat(200) },
    });
  });

  it('NO_COLOR leaves the colours out', async () => {
    expect(await onTerminal('ls /local/domain', { NO_COLOR: '1' })).toBe(
      `3 = ""\n long = "${'v'.repeat(46)}\\..."\n name = "web"\n`,
    );
  });

  it('read escapes', async () => {
    expect(await onTerminal('read /bin')).toBe('\\x1b\\xff\n');
  });
});

describe('in a pipe', () => {
  it('read gives the bytes, ls no colours and whole values', async () => {
    const run = (...args: string[]): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        execFile(process.execPath, [XL, 'store', ...args], { env: env(), encoding: 'buffer' }, (error, stdout) => {
          if (error) reject(error);
          else resolve(stdout);
        });
      });
    expect(await run('read', '/bin')).toEqual(Buffer.of(0x1b, 0xff));
    expect((await run('ls', '/local')).toString()).toBe(
      `domain = ""\n 3 = ""\n  long = "${'v'.repeat(200)}"\n  name = "web"\n`,
    );
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('watch ends cleanly at %s', async signal => {
    const child = spawn(process.execPath, [XL, 'store', 'watch', '/bin'], {
      ...{ env: env(), stdio: ['ignore', 'pipe', 'pipe'] },
    });
    const ended = once(child, 'close');
    let said = '';
    child.stderr.on('data', chunk => {
      said += chunk;
    });
    const [first] = await once(child.stdout, 'data');
    expect(String(first)).toMatch(/ \/bin = "\\x1b\\xff"\n$/);
    child.kill(signal);
    expect(await ended).toEqual([0, null]);
    expect(said).toBe('');
  });

  it('watch ends when nobody reads it any more', async () => {
    const xs = await xenstored.client();
    const child = spawn(process.execPath, [XL, 'store', 'watch', '/bin'], {
      ...{ env: env(), stdio: ['ignore', 'pipe', 'inherit'] },
    });
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    await xs.write('/bin', 'changed');
    expect(await ended).toEqual([0, null]);
    await xs.write('/bin', Uint8Array.of(0x1b, 0xff));
  });
});
