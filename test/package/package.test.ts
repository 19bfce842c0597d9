// What `npm pack` makes, as whoever installs it has it: by an unprivileged user, and under what Docker denies.
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { E2FSPROGS } from '../../tools/ext4/build.ts';
import { onHost } from '../../tools/spelling.ts';
import { debugfs, e2fsck, LAYOUTS, madeExt4, whyNoExt4 } from '../support/ext4.ts';
import { root } from '../support/host-view.ts';
import { eventually } from '../support/processes.ts';
import { debianSource } from '../support/programs/debian-source.ts';
import { compileWasi } from '../support/wasi-cc.ts';
import { Installed, type Run } from './installed.ts';

const at = new Installed();
afterAll(() => at.remove());

const hasPython = existsSync('/usr/bin/python3') && process.arch === 'x64';
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const EXAMPLES = ['echo.test.ts', 'echo.ts'];

const TOPOLOGY = `
domains:
  one: { kernel: node_modules/xenolith/dist/domu-kernel.js, ramdisk: echo.ts, memory: 16 }
hints: [{ try: xl list one }]
`;
/** As docs/library.md has them. */
const TSCONFIG = `{
  "compilerOptions": {
    "target": "ES2022", "lib": ["ES2022", "ESNext.Disposable"], "module": "NodeNext", "strict": true,
    "types": ["node"], "outDir": "out"
  },
  "include": ["*.test.ts"]
}`;
const GUEST_TSCONFIG = `{
  "compilerOptions": {
    "target": "ES2022", "lib": ["ES2022"], "module": "NodeNext", "strict": true,
    "types": ["node", "xenolith/guest"], "noEmit": true
  },
  "files": ["echo.ts"]
}`;

/** npm and tsc take their time on a busy machine. */
const LONG = { timeout: 240_000 };

describe.skipIf(at.unreachable !== undefined)(
  `the package (npm registry: ${at.unreachable ?? 'reached'})`,
  LONG,
  () => {
    beforeAll(() => {
      for (const name of EXAMPLES) at.write(`app/${name}`, readFileSync(join(root, 'examples/library', name), 'utf8'));
      at.write('app/topology.yaml', TOPOLOGY);
      at.write('app/tsconfig.json', TSCONFIG);
      at.write('app/tsconfig.guest.json', GUEST_TSCONFIG);
      // Their modules have what those need beside them, where the links lead.
      for (const name of ['@types', 'undici-types', 'vitest']) {
        const to = join(root, 'node_modules', name);
        if (!existsSync(at.path(`app/node_modules/${name}`))) symlinkSync(to, at.path(`app/node_modules/${name}`));
      }
    });

    it('has its programs for npx and for npm i -g', async () => {
      const { exitCode, stderr } = await at.run('npx', 'xl', 'list');
      expect({ exitCode, stderr }).toEqual({
        exitCode: 1,
        stderr: expect.stringContaining(`xl: no xenolith host runs on ${at.path('run/host')} (`),
      });
      for (const program of ['xl', 'xentop']) {
        const help = program === 'xl' ? 'help' : '--help';
        expect((await at.run(at.path(`global/bin/${program}`), help)).stdout).toContain('sage');
      }
    });

    it('has the licences of what others wrote of it', () => {
      const text = readFileSync(at.path('app/node_modules/xenolith/dist/THIRD-PARTY-LICENSES.txt'), 'utf8');
      const titles = [...text.matchAll(/^-{80}\n(\S+) \S+ \((.+)\)\n\n(.+)$/gm)];
      const names = titles.map(([, name]) => name);
      // Each command of xl is bundled with what it needs of these; koffi and node-ipc are dependencies.
      expect(names).toEqual(expect.arrayContaining(['execa', 'fatfs-wasm', 'msgpackr', 'yaml', 'zod']));
      expect(names).not.toContain('koffi');
      expect(names).not.toContain('node-ipc');
      for (const name of names) {
        const { version, license } = JSON.parse(
          readFileSync(join(root, 'node_modules', name!, 'package.json'), 'utf8'),
        );
        expect(text).toContain(`\n${name} ${version} (${license})\n`);
      }
      expect(text).toContain('Copyright (c) 2025 Colin McDonnell'); // zod's
    });

    it('brings up a topology', async () => {
      await office(['npx', 'xl']);
    });

    it.skipIf(!hasPython)('brings it up under what Docker denies by default', async () => {
      const filter = at.path('app/docker-seccomp.py');
      copyFileSync(join(root, 'test/package/docker-seccomp.py'), filter);
      // The filter is there: what it denies fails.
      expect((await at.run('python3', filter, 'unshare', '--user', 'true')).exitCode).not.toBe(0);
      const lacking = async (...filters: string[]): Promise<string[]> => {
        const { stdout, exitCode } = await at.run('python3', filter, ...filters, 'npx', 'xl', 'doctor', '--json');
        expect(exitCode).toBe(0);
        const { checks } = JSON.parse(stdout) as { checks: { name: string; lost: string | null; advice: string }[] };
        const lost = checks.filter(check => check.lost !== null);
        expect(lost.find(({ name }) => name === 'user_namespaces')?.advice).toContain('seccomp=unconfined');
        return lost.map(({ name }) => name);
      };
      expect(await lacking()).not.toContain('futex_waitv');
      expect(await lacking('--podman')).toContain('futex_waitv');
      await office(['python3', filter, 'npx', 'xl']);
      await office(['python3', filter, '--podman', 'npx', 'xl']);
    });

    it.skipIf(whyNoExt4)(
      `builds what a guest says it lacks for its ext4 disk${whyNoExt4 ? ` (${whyNoExt4})` : ''}`,
      async () => {
        copyFileSync(await compileWasi(join(root, 'test/support/programs/c/folder.c')), at.path('app/folder.wasm'));
        at.write('app/data.img', madeExt4(LAYOUTS.ext4, 16 << 20));
        const write = (): Promise<Run> =>
          at.run('npx', 'xl', 'run', '--disk', 'data.img', 'folder.wasm', 'write', '/mnt/made', 'kept');
        const without = await write();
        expect(without.exitCode).toBe(125);
        const [, verb = ''] = /no driver for it here: 'xl (\S+)' on the host builds it/.exec(without.stderr) ?? [];
        const source = ['--source', await debianSource(E2FSPROGS)];
        if (process.getuid?.() === 0) {
          // Whose package it is not.
          const { stderr, exitCode } = await at.run('npx', 'xl', verb, ...source);
          const dist = at.path('app/node_modules/xenolith/dist');
          expect([stderr, exitCode]).toEqual([
            `xl ${verb}: ${dist}: EACCES: it is for whoever installed the package to do`,
            1,
          ]);
        }
        const built = await execa('npx', ['xl', verb, ...source], { cwd: at.path('app') });
        expect(built.stdout).toContain(at.path('app/node_modules/xenolith/dist/ext4.wasm: '));
        expect(await write()).toEqual({ stdout: '', stderr: '', exitCode: 0 });
        const image = new Uint8Array(readFileSync(at.path('app/data.img')));
        expect([e2fsck(image), debugfs(image, 'cat /made')]).toEqual(['', expect.stringMatching(/\nkept/)]);
      },
    );

    it('serves a xenstore by itself', async () => {
      const socket = at.path('home/xenstored.sock');
      const daemon = at.start(at.path('app/node_modules/.bin/xenstored'), ['--socket', socket]);
      try {
        await eventually('it listens', () => existsSync(socket));
        const store = (...args: string[]) => at.start('npx', ['xl', 'store', ...args], { XENSTORED_PATH: socket });
        expect((await store('write', '/tool/answer', '42')).exitCode).toBe(0);
        expect((await store('read', '/tool/answer')).stdout).toBe('42');
      } finally {
        daemon.kill();
        await daemon;
      }
    });

    it('has the types of the library and of guest programs', async () => {
      for (const config of ['tsconfig.json', 'tsconfig.guest.json']) {
        const { stdout, exitCode } = await at.run('node', tsc, '-p', config);
        expect({ config, stdout, exitCode }).toEqual({ config, stdout: '', exitCode: 0 });
      }
      at.write('app/wrong.test.ts', `import { Host } from 'xenolith';\nconst host: number = await Host.start();\n`);
      const wrong = await at.run('node', tsc, '-p', 'tsconfig.json', '--noEmit');
      expect(wrong.stdout).toContain(
        "wrong.test.ts(2,7): error TS2322: Type 'Host' is not assignable to type 'number'",
      );
    });

    it('runs the example of the library', async () => {
      const { stdout, exitCode } = await at.run('node', '--test', '--test-reporter=tap', 'out/echo.test.js');
      expect({ stdout, exitCode }).toEqual({ stdout: expect.stringContaining('# pass 2'), exitCode: 0 });
    });

    it('runs the example of docs/faults.md with vitest, as it is printed', async () => {
      const faults = at.path('app/node_modules/xenolith/examples/faults');
      mkdirSync(at.path('app/faults'), { recursive: true });
      for (const name of ['my-driver.test.ts', 'my-driver.ts'])
        at.write(`app/faults/${name}`, readFileSync(join(faults, name), 'utf8'));
      const vitest = ['node_modules/vitest/vitest.mjs', 'run', 'faults/my-driver'];
      const { stdout, exitCode } = await at.start('node', vitest, { NO_COLOR: '1' });
      expect({ stdout, exitCode }).toEqual({ stdout: expect.stringMatching(/Tests.* 1 passed/), exitCode: 0 });
    });

    it('runs it with node --test, changed as the page says', async () => {
      const [, line] = /becomes `(import .*?)`/.exec(readFileSync(join(root, 'docs/faults.md'), 'utf8'))!;
      const printed = readFileSync(at.path('app/faults/my-driver.test.ts'), 'utf8');
      const changed = printed.replace("import { afterAll, test } from 'vitest'", line!);
      expect(changed).not.toBe(printed);
      at.write('app/faults/my-driver.test.mjs', changed);
      const { stdout, exitCode } = await at.run('node', '--test', '--test-reporter=tap', 'faults/my-driver.test.mjs');
      expect({ stdout, exitCode }).toEqual({ stdout: expect.stringContaining('# pass 1'), exitCode: 0 });
    });

    it('leaves no process', () => {
      expect(at.processes()).toEqual([]);
    });
  },
);

/** Brings the topology up by `xl`, sees it, and ends it. */
async function office([file, ...args]: string[]): Promise<void> {
  const up = at.start(file!, [...args, 'up', 'topology.yaml']);
  let said = '';
  up.stdout.on('data', chunk => {
    said += chunk;
  });
  try {
    const out = await eventually(
      'the domain runs',
      async () => {
        if (up.exitCode !== null && up.exitCode !== undefined) throw new Error((await up).stderr);
        const { stdout } = await at.run(file!, ...args, 'list');
        return /^one +\d+ +16 /m.test(stdout) && stdout;
      },
      60_000,
    );
    expect(out).toContain('Domain-0');
    const hint = await eventually('it says what to try', () => /^try +(.*)$/m.exec(said)?.[1]);
    expect(hint).toBe(`${onHost('npx xl', { XENOLITH_RUN_DIR: at.path('run/host') })} list one`);
    expect((await at.run('env', '-u', 'XENOLITH_RUN_DIR', 'sh', '-c', hint)).stdout).toMatch(/^one /m);
  } finally {
    await at.run(file!, ...args, 'down', 'topology.yaml');
    up.kill('SIGTERM');
    await up;
  }
  await eventually('everything has ended', () => at.processes().length === 0, 60_000);
}

describe('docs/library.md', () => {
  it('shows the example as it is', () => {
    const doc = readFileSync(join(root, 'docs/library.md'), 'utf8');
    for (const name of EXAMPLES) expect(doc).toContain(readFileSync(join(root, 'examples/library', name), 'utf8'));
    for (const text of [TSCONFIG, GUEST_TSCONFIG]) expect(doc).toContain(text);
  });
});
