// Xen's own test program for a xenstore, with our daemon: each of its tests by name, all of them many times over, and
// its random ones.
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { daemons, type Running, skipped } from './daemons.ts';
import { type Ended, runProgram } from './run-program.ts';

const PROGRAM = '/usr/lib/xen-4.17/bin/test-xenstore';
const noProgram = existsSync(PROGRAM) ? undefined : `no ${PROGRAM} (Debian: xen-utils-4.17)`;

const TESTS = ['read 1', 'read 2000', 'write 1', 'write 2000', 'dir', 'rm node', 'rm dir', 'ta empty'];
TESTS.push('ta empty x', 'ta rmw', 'ta rmw x', 'ta err');

/** What it prints of a test that went well: its name and how long it took. */
const LINE = /^(.+?) *: (?:\d+ ns|avg: \d+ ns \(\d+ ns \.\. \d+ ns\))$/;
function passed({ code, stdout, stderr }: Ended): (string | undefined)[] {
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = stdout.trim().split('\n');
  return lines.map(line => LINE.exec(line)?.[1] ?? line);
}

for (const daemon of daemons) {
  const reason = noProgram ?? daemon.reason;
  describe.skipIf(reason !== undefined)(`with the daemon ${daemon.name}${skipped(reason)}`, () => {
    let running: Running;
    beforeAll(async () => {
      running = await daemon.start();
    });
    afterAll(() => running.stop());
    const run = (...args: string[]): Promise<Ended> =>
      runProgram(PROGRAM, args, { PATH: process.env.PATH, XENSTORED_PATH: running.socket });

    test('all of its tests pass', async () => {
      expect(passed(await run())).toEqual(TESTS);
    });
    if (daemon.name !== 'ours') return; // Xen's are there to show that the program is the judge

    test('it has the tests that are known here', async () => {
      const { code, stdout } = await run('--list-tests');
      const names = stdout
        .trim()
        .split('\n')
        .map(line => line.split(/ *:/)[0]);
      expect({ code, names }).toEqual({ code: 0, names: TESTS });
    });

    test.each(TESTS)('the test "%s" passes by itself, twenty times', async name => {
      expect(passed(await run('--test', name, '--iterations', '20'))).toEqual([name]);
    });

    test('all of them pass, a hundred times each', async () => {
      expect(passed(await run('-i', '100'))).toEqual(TESTS);
    });

    test('its random tests pass, for a second', async () => {
      const { code, stdout, stderr } = await run('--random', '1');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).not.toMatch(/error|fail/i);
    });

    test('what it does not have it does not run', async () => {
      expect(await run('--test', 'nonsense')).toEqual({ code: 0, stdout: '', stderr: '' });
    });
  });
}

test.skipIf(noProgram !== undefined)(`without a daemon it fails${skipped(noProgram)}`, async () => {
  const { code } = await runProgram(PROGRAM, [], { PATH: process.env.PATH, XENSTORED_PATH: '/nonexistent' });
  expect(code).not.toBe(0);
});
