// A real host under `xl trace`: what a request from outside sets in motion is in both files.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HostRig } from '../../support/host-rig.ts';
import { Office, TOPOLOGY } from '../../support/office.ts';
import { eventually } from '../../support/processes.ts';

let host: HostRig;
let office: Office;
let folder: string;
beforeAll(async () => {
  [host, office] = await Promise.all([HostRig.start(), Office.make()]);
  folder = mkdtempSync(join(tmpdir(), 'xl-trace-test-'));
});
afterAll(async () => {
  if (folder) rmSync(folder, { recursive: true });
  office?.remove();
  await host?.stop();
});

/** Trace while web is asked for a file, again and again. */
async function trace(...options: string[]): Promise<string> {
  let over = false;
  const tracing = host.xl('trace', '-d', '1', ...options).finally(() => {
    over = true;
  });
  while (!over) await office.curl(office.url('/hello.txt'));
  const { exitCode, stderr } = await tracing;
  expect(exitCode).toBe(0);
  return stderr;
}

it('is joined by xl up', async () => {
  expect(await host.xlIn(office.dir, 'up', '-q', TOPOLOGY)).toMatchObject({ exitCode: 0 });
  await eventually('web is connected', async () => (await office.curl(office.url('/'))).status === 200);
});

it('Perfetto’s file has the domains by name, their hypercalls, and arrows between them', async () => {
  const file = join(folder, 'trace.json');
  expect(await trace('-o', file)).toMatch(/^[0-9]+ records in [0-9.]+ s, 0 lost: /);
  const { traceEvents: events } = JSON.parse(readFileSync(file, 'utf8'));
  const pids = new Map<string, number>(
    events
      .filter((e: { name: string }) => e.name === 'process_name')
      .map((e: { args: { name: string }; pid: number }) => [e.args.name, e.pid]),
  );
  expect([...pids.keys()]).toEqual(expect.arrayContaining(['pCPUs', 'Domain-0 (dom0)', 'web (dom1)']));
  const of = (ph: string, domain: string) =>
    events.filter((e: { ph: string; pid: number }) => e.ph === ph && e.pid === pids.get(domain));
  expect(of('X', 'pCPUs').some((e: { name: string }) => e.name === 'web (dom1) v0')).toBe(true);
  expect(of('X', 'Domain-0 (dom0)').some((e: { cat: string }) => e.cat === 'hypercall')).toBe(true);
  const ends = new Map(of('f', 'web (dom1)').map((e: { id: number }) => [e.id, e]));
  expect(of('s', 'Domain-0 (dom0)').some((e: { id: number }) => ends.has(e.id))).toBe(true);
});

it('tracing again at once is allowed, in Xen’s format', async () => {
  const file = join(folder, 'trace.bin');
  expect(await trace('--format=xen', '-o', file)).toMatch(/ 0 lost: /);
  const bytes = readFileSync(file);
  // TRC_TRACE_CPU_CHANGE with two words, then as many bytes as it says, up to the end.
  let windows = 0;
  for (let at = 0; at < bytes.length; at += 12 + bytes.readUInt32LE(at + 8), windows++)
    expect(bytes.readUInt32LE(at)).toBe(0x2001f003);
  expect(windows).toBeGreaterThan(0);
});

it('of two tools one is told that the host is traced already, and its file stays as it was, or does not come', async () => {
  const files = ['one', 'other'].map(name => join(folder, name));
  writeFileSync(files[0]!, 'from before');
  const runs = await Promise.all(files.map(file => host.xl('trace', '-d', '4', '-o', file)));
  const refused = runs.findIndex(({ exitCode }) => exitCode !== 0);
  expect(runs[refused]).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('traced already') });
  if (refused === 0) expect(readFileSync(files[0]!, 'utf8')).toBe('from before');
  else expect(existsSync(files[1]!)).toBe(false);
  expect(runs[1 - refused]).toMatchObject({ exitCode: 0 });
  expect(readFileSync(files[1 - refused]!, 'utf8')).toMatch(/^[[{]/);
});

it.each([
  [['--format=svg'], "there is no format 'svg'"],
  [['-d', 'soon'], "'soon' is no time"],
  [['-e', 'disks'], "'disks' is no class"],
])('%j is a mistake that is said before anything is traced', async (options, message) => {
  const { exitCode, stderr } = await host.xl('trace', ...options);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(message);
});
