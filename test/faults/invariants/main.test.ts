// Each invariant of the library is broken on a real host, and says so; and holds before.
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import type * as library from '../../../tools/library/xenolith.d.ts';
import { dist } from '../../support/host-view.ts';
import { eventually, family, processOfDomain } from '../../support/processes.ts';

const { baseline, expectInvariant, faultTrace, Host, inject, progress }: typeof library = await import(
  dist('library.mjs')
);

const ramdisk = fileURLToPath(new URL('../fault-plans/guest.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'invariants-'));
const images = ['one', 'two'].map(name => join(dir, `${name}.img`));
let host: library.Host;
let console_: library.DomainConsole;
const create = async (name: string, image: string): Promise<library.DomainConsole> => {
  await host.domain(name).create({ ramdisk, memory: 16, disk: [`${image},raw,xvda,w`], on_crash: 'preserve' });
  const opened = await host.domain(name).console();
  await opened.waitFor('ready');
  return opened;
};
async function ask(line: string): Promise<string> {
  console_.write(`${line}\n`);
  return /> (.*) </.exec(await console_.waitFor(/> .* </))![1]!;
}
/** Of what is so already, or is not going to be: nothing is waited for. */
const broken = <N extends keyof library.Invariants>(
  number: N,
  what: library.Invariants[N],
  options = { within: 0 },
): Promise<string> =>
  expectInvariant(host, number, what, options).then(
    () => 'it holds',
    error => (error as Error).message,
  );

beforeAll(async () => {
  for (const image of images) {
    writeFileSync(image, '');
    truncateSync(image, 1 << 20);
  }
  host = await Host.start({ memory: '256M' });
  console_ = await create('one', images[0]!);
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true });
});
const page = (byte: number): Uint8Array => new Uint8Array(4096).fill(byte);

it('I1: what is acknowledged and flushed is in the image', async () => {
  expect([await ask('write 0 1'), await ask('flush')]).toEqual(['ok', 'ok']);
  const [image] = images as [string];
  expect(await broken('I1', { image, acknowledged: [{ sector: 0, data: page(1) }] })).toBe('it holds');
  expect(await ask('write 0 2')).toBe('ok');
  expect(await broken('I1', { image, acknowledged: [{ sector: 0, data: page(1) }] })).toBe(
    `I1: sector 0 of ${image} is not what was acknowledged`,
  );
});
it('I2: a write that was not acknowledged is old or new in each sector', async () => {
  const [image] = images as [string];
  await using torn = await inject(host, { part: 'disk', domain: 'one', op: 'write', torn: 1024 });
  expect(await ask('write 8 3')).toBe('failed EIO');
  await torn.happened();
  const write = (before: number): library.Invariants['I2'] => ({
    image,
    unacknowledged: [{ sector: 8, data: page(3), before: page(before) }],
  });
  expect(await broken('I2', write(0))).toBe('it holds');
  expect(await broken('I2', write(9))).toBe(`I2: sector 10 of ${image} is neither old nor new`);
});
it('I3: nothing is completed twice, or unasked', async () => {
  expect(await broken('I3', { submitted: [1, 2], completed: [2] })).toBe('it holds');
  expect(await broken('I3', { submitted: [1, 2], completed: [2, 2] })).toBe('I3: request 2 was completed twice');
  expect(await broken('I3', { submitted: [1], completed: [2] })).toContain('I3: request 2 was completed and never');
});
it('I4: every packet was sent so', async () => {
  const sent = [page(1), page(2)];
  expect(await broken('I4', { sent, received: [page(2)] })).toBe('it holds');
  expect(await broken('I4', { sent, received: [page(2), page(3)] })).toBe(
    'I4: packet 2 was never sent as it was received',
  );
});

describe('I5: nothing is left', () => {
  it('of processes, what they have open and mapped, ports, grants and nodes, each of which is said by itself', async () => {
    const before = await baseline(host);
    expect(Object.keys(before).sort()).toEqual(['descriptors', 'hypervisor', 'mappings', 'nodes', 'processes']);
    const parts = Object.entries(before).map(([name, lines]) => [name, { [name]: lines }] as const);
    const console2 = await create('two', images[1]!);
    const { processes } = before;
    await eventually('another shell waits', async () => (await broken('I5', { processes: processes! })) !== 'it holds');
    const said = Object.fromEntries(
      await Promise.all(parts.map(async ([name, part]) => [name, await broken('I5', part)] as const)),
    );
    expect(said).toEqual({
      descriptors: expect.stringMatching(/^I5: descriptors: .*\+dom0\.js: \d+ /),
      hypervisor: expect.stringMatching(/^I5: hypervisor: .*dom0: \d+ ports/),
      mappings: expect.stringMatching(/^I5: mappings: .*\/memfd:xenolith/),
      nodes: expect.stringMatching(/^I5: nodes: .*\+\/local\/domain\/0\/backend\/vbd\/2/),
      processes: expect.stringMatching(/^I5: processes: \+domain-shell\.cjs/),
    });
    console2.close();
    await host.domain('two').destroy();
    expect(await broken('I5', before, { within: 30_000 })).toBe('it holds');
  });
});

it('I7: xenstored finds its tree whole', async () => {
  expect(await broken('I7', {})).toBe('it holds');
  // No request breaks a tree: so one that answers as if it were.
  const elsewhere = join(dir, 'elsewhere');
  const { xenstoredSocket } = runPaths(elsewhere);
  mkdirSync(dirname(xenstoredSocket), { recursive: true });
  const server = createServer(socket =>
    socket.once('data', request => {
      const why = Buffer.from('/ counts 3 nodes, and has 2\0');
      const header = Buffer.from(request.subarray(0, 16));
      header.writeUInt32LE(why.length, 12);
      socket.write(Buffer.concat([header, why]));
    }),
  );
  await new Promise<void>(resolve => server.listen(xenstoredSocket, resolve));
  const { runDir } = host;
  Object.assign(host, { runDir: elsewhere });
  const said = await broken('I7', {});
  Object.assign(host, { runDir });
  await new Promise(resolve => server.close(resolve));
  expect(said).toBe('I7: xenstored says of its tree: / counts 3 nodes, and has 2');
});

describe('I8: others have come to no harm', () => {
  const I8 = (before?: library.Progress, within = 0): Promise<string> =>
    broken('I8', { domains: ['three'], ...(before === undefined ? {} : { before }) }, { within });

  it('and their devices go on, or stand still', async () => {
    // The write that was torn is in the log, which has begun anew since.
    const { hostLog } = runPaths(host.runDir);
    appendFileSync(hostLog, 'of others\n'.repeat(1 << 19));
    await eventually('it has begun anew', () => statSync(hostLog).size < 1 << 20);
    expect(await broken('I8', { domains: ['one'] })).toMatch(/^I8: domain one: the log says .* request op 1 failed: /);
    await host.domain('one').destroy();
    console_ = await create('three', images[0]!);
    expect(await I8()).toBe('it holds');
    const before = await progress(host);
    expect(await I8(before, 100)).toBe('I8: domain three: its devices have done nothing in 0.1 s');
    expect(await ask('read 0 2')).toBe('same');
    expect(await I8(before)).toBe('it holds');
  });
  it('their devices have no error at either end', async () => {
    const domid = await host.domain('three').domid();
    for (const end of [
      `/local/domain/0/error/backend/vbd/${domid}/51712`,
      `/local/domain/${domid}/error/device/vbd/51712`,
    ]) {
      await host.xenstore.write(`${end}/error`, 'EIO made up');
      expect(await I8()).toBe('I8: domain three: vbd 51712 has failed: EIO made up');
      await host.xenstore.rm(end);
    }
    expect(await I8()).toBe('it holds');
  });
  it('their consoles have no error of their kernels', async () => {
    await ask('xenolith: error: made up');
    expect(await I8()).toBe('I8: domain three: its console says xenolith: error: made up');
    const before = await progress(host);
    expect(await ask('read 0 2')).toBe('same');
    expect(await I8(before)).toBe('it holds'); // since then
  });
  it('they are there, and have not crashed', async () => {
    expect(await broken('I8', { domains: ['none'] })).toBe('I8: domain none is not there');
    const console2 = await create('two', images[1]!);
    process.kill(processOfDomain(await host.domain('two').domid(), family(host.pid)), 'SIGKILL');
    await eventually('it has crashed', async () => /has crashed$/.test(await broken('I8', { domains: ['two'] })));
    console2.close();
  });
});

it('I9 and I10: what was injected is in the events, as it was in the other run', async () => {
  await using failing = await inject(host, { name: 'bad', part: 'disk', domain: 'three', op: 'write', error: 'EIO' });
  expect(await ask('write 16 1')).toBe('failed EIO');
  await failing.happened();
  const trace = await faultTrace(host);
  expect([await broken('I9', {}), await broken('I10', { trace })]).toEqual(['it holds', 'it holds']);
  expect(await broken('I10', { trace: trace.slice(1) })).toMatch(
    /^I10: step \d+ is bad 1 vbd 51712 of dom\d+, it was /,
  );
  const events = await host.events();
  // As if the log had lost it.
  host.events = async () => events.filter(event => event.event !== 'fault' || event.fault !== 'bad');
  expect(await broken('I9', {})).toBe(`I9: fault ${failing.plan}:bad has happened 1 times, the log has 0`);
});
