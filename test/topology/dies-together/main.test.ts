// Parents and children end together. Whichever process of a running office is killed without a word, soon
// there is none left, nor a socket in the run directory. (But xenstored and dom0, whose places others take:
// see faults/xenstored-dies and faults/dom0-dies.)
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Office } from '../../support/office.ts';
import { commandLine, eventually, isAlive, isShell, signalAll } from '../../support/processes.ts';

let office: Office;
beforeEach(async () => {
  office = await Office.make();
});
afterEach(() => office?.remove());

/** The one Node below npm that runs `script`. A process that it is starting looks like itself, for a moment. */
function find(script: string): Promise<number> {
  const runs = new RegExp(`^\\S*node (\\S+ )*?\\S*\\b${script}( |$)`);
  return eventually(`one process runs ${script}`, () => {
    const [found, ...others] = office.processes().filter(pid => runs.test(commandLine(pid)));
    return others.length === 0 && found;
  });
}
const sockets = (): string[] => office.host.files().filter(name => name.endsWith('.sock'));

async function nothingIsLeft(all: readonly number[]): Promise<void> {
  const left = (): string[] => all.filter(isAlive).map(pid => `${pid} ${commandLine(pid)}`);
  await eventually('every process has ended', () => left().length === 0).catch(() => {});
  expect(left()).toEqual([]);
  expect(sockets()).toEqual([]);
}

describe('kill -9', () => {
  it.each([
    ['of npm', () => office.npmPid],
    ['of xl up', () => find('xl.js')],
    ['fault 1: of the hypervisor', () => find('hypervisor.js')],
  ])('%s ends everything', async (_what, victim) => {
    await office.start();
    const all = await eventually('four domains, and a shell that waits for the next', () => {
      const found = office.processes();
      return found.filter(isShell).length === 5 && found;
    });
    expect(sockets().length).toBeGreaterThan(2);
    process.kill(await victim(), 'SIGKILL');
    await nothingIsLeft(all);
  });
});

describe('xl up', () => {
  it('fault 55: starts a host where one was killed with all of its processes, sockets left behind', async () => {
    await office.start({ npm: false });
    const all = office.processes();
    signalAll(all, 'SIGSTOP'); // so that none of them clears up after another
    signalAll(all, 'SIGKILL');
    await eventually('every process has ended', () => !all.some(isAlive));
    expect(sockets().length).toBeGreaterThan(2);
    await office.start({ npm: false });
    expect((await office.host.domains()).map(({ name }) => name)).toContain('web');
  });

  it.each([
    ['Ctrl-C', 'SIGINT', 0],
    ['a terminal that closes', 'SIGHUP', 0],
    ['kill', 'SIGTERM', 0],
  ] as const)('ends by %s in order: every domain, then the host', async (_what, signal, exitCode) => {
    await office.start({ npm: false });
    const all = office.processes();
    expect(await office.signal(signal)).toBe(exitCode);
    await nothingIsLeft(all);
    expect(office.host.log()).toContain('dom0 shut the host down');
  });

  it('says that the host was killed, and fails', async () => {
    await office.start({ npm: false });
    process.kill(await find('hypervisor.js'), 'SIGKILL');
    expect(await office.exitCode()).toBe(1);
    expect(office.output).toMatch(/the host ended by itself: SIGKILL/);
  });

  it('goes on when dom0 is killed, and ends in order', async () => {
    await office.start({ npm: false });
    const old = await find('dom0.js');
    process.kill(old, 'SIGKILL');
    await eventually('it is gone', () => !isAlive(old));
    await eventually('another one serves', () =>
      office.host.domains().then(
        domains => domains.length === 5,
        () => false,
      ),
    );
    const all = office.processes();
    expect(await office.signal('SIGINT')).toBe(0);
    await nothingIsLeft(all);
    expect(office.output).not.toMatch(/^xl: /m);
    expect(office.host.log()).toContain('dom0 shut the host down');
  });
});
