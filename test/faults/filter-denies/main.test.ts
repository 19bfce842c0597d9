// What breaks: a filter kills a domain's process, or its native code does. What must be: the log says by which signal,
// although the process is the first one of a namespace, where SIGABRT would do nothing; and a Node that needs a call that
// the filter does not know runs no domain: the host starts, its shells end, `xl create` says so, nothing runs unconfined.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from 'vitest';
import { whyNoSeccomp } from '#pvbus';
import { dist, HostRig, root } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-filter-'));
let host: HostRig | undefined;
afterEach(() => host?.stop());
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const unfiltered = whyNoSeccomp() !== undefined;

function cfg(name: string, how: string): string {
  const file = join(dir, `${name}.cfg`);
  const program = join(import.meta.dirname, 'ends.ts');
  const keys = `kernel = "${dist('domu-kernel.js')}"\nmemory = 16\nramdisk = "${program}"\non_crash = "preserve"\n`;
  writeFileSync(file, `name = "${name}"\ncmdline = "how=${how}"\n${keys}`);
  return file;
}
async function logged(rig: HostRig, text: RegExp): Promise<void> {
  await eventually(String(text), () => text.test(rig.log())).catch(error => {
    throw new Error(`${error.message}\n${rig.logToQuote()}`);
  });
}
/** A copy of what the build made, whose filter has no mprotect. */
function distWithoutMprotect(): string {
  const copy = join(dir, 'dist');
  cpSync(dist('.'), copy, { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
  const shell = join(copy, 'domain-shell.cjs');
  const text = readFileSync(shell, 'utf8');
  const parts = text.split(' mprotect pkey_mprotect ');
  expect(parts).toHaveLength(2);
  writeFileSync(shell, parts.join(' '));
  return copy;
}

it('a guest whose native code ends its process has crashed by the signal that did it', async () => {
  host = await HostRig.start();
  const ends: [string, string][] = [
    ['abort', 'SIGABRT'],
    ['segv', 'SIGSEGV'],
    ...(unfiltered ? [] : ([['sys', 'SIGSYS']] as [string, string][])),
  ];
  for (const [how, signal] of ends) {
    expect(await host.xl('create', '-q', cfg(how, how))).toMatchObject({ exitCode: 0 });
    await logged(host, new RegExp(`'${how}' \\(dom[0-9]+\\) has crashed: .*${signal}`));
  }
});

it.skipIf(unfiltered)(
  'fault 56: a filter that denies what this Node needs is the end of shells, and no domain runs',
  async () => {
    host = await HostRig.start({ dist: distWithoutMprotect() });
    // It is the self-test that found it, and not the domain's first need of that call.
    await logged(host, /a shell has ended before it was a domain's: SIGSYS.* while it tried [^;]+; domains get none/);
    const { exitCode, stdout, stderr } = await host.xl('create', '-q', cfg('none', 'abort'));
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr).toMatch(
      /^libxl: error: \S+: no process for a domain: shells end before they are a domain's: SIGSYS[^\n]* \(xl doctor says more\)\n$/,
    );
    expect((await host.domains()).map(({ domid }) => domid)).toEqual([0]);
    await logged(host, /dom[0-9]+ gets no process: shells end before they are a domain's: SIGSYS/);
  },
);
