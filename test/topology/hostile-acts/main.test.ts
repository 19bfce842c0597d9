// The acts of docs/hostile-acts.md on real processes, one after the other, by a domain whose kernel was written for
// them. After each: it is contained and named, the innocent's checked disk, packets and xenstore have seen nothing of it
// and go on, and all there is of the host is as it was.
import { spawnSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { closeFd, connectSocket, runPaths, streamSocket } from '#pvbus';
import type { BenchDomain } from '../../bench/bench-domain.ts';
import type { XlResult } from '../../support/host-rig.ts';
import type { Inventory } from '../../support/inventory.ts';
import { sendDescriptors } from './descriptors.ts';
import { image } from './kernels.ts';
import { Stage } from './stage.ts';

let stage: Stage;
let acts = 0;
beforeAll(async () => {
  stage = await Stage.start();
});
afterAll(async () => {
  await stage?.stop();
  console.log(`hostile acts: ${stage?.contained} of ${acts} contained`);
});
const contained = async (): Promise<void> => {
  await stage.othersGetOn();
  stage.contained++;
};

/** Of the domain whose number is put for N; undefined: the refusal itself is all there is to say. */
type Named = string | undefined;
type Row = readonly [act: number, what: string, outcome: Record<string, unknown>, named: Named];

const RING = 'vbd 51712 of domN: its ring claims more requests than it holds';
const REQUEST = 'vbd 51712 of domN: request .*failed';
const VIF = 'vifN\\.0: disabled: domN broke the protocol';
const PACKET = 'vifN\\.0: domN sent a packet of .* that cannot be taken';
const REFUSED = 'domN: .*refused';
const LOST = { honest: 0, state: '5', answered: false };
const bad = (...statuses: number[]) => ({ statuses, honest: 0 });

const DEVICES: readonly Row[] = [
  [1, 'a ring and one more', LOST, RING],
  [2, '2^31 requests', LOST, RING],
  [3, 'a producer that goes back', LOST, RING],
  [4, 'indices that wrap, which is legal', { statuses: new Array(12).fill(0), wrapped: 7 }, undefined],
  [5, "the backend's index overwritten", { status: 0 }, undefined],
  [6, 'an event index far away', { status: 0, told: 0 }, undefined],
  [7, 'a gref that changes under the request', { strange: 0, honest: 0 }, undefined],
  [8, 'operation 255', bad(-2), REQUEST],
  [9, 'segments that are none or too many', bad(-1, -1, -1), REQUEST],
  [10, 'sectors outside of the page', bad(-1, -1), REQUEST],
  [11, 'sectors outside of the disk', bad(-1, -1), REQUEST],
  [12, 'a write to a disk for reading', bad(-1), 'vbd 51728 of domN: request .*failed'],
  [13, 'a discard that wraps', bad(-1), REQUEST],
  [14, 'indirect where it cannot be', bad(-1, -1), REQUEST],
  [15, "grefs that are not the backend's to use", { statuses: [-1, -1, -1, -1], honest: 0, leaked: 0 }, REQUEST],
  [16, 'more grefs than are kept', { failed: 0, atMost: true, some: true, leaked: 0 }, undefined],
  [17, 'a grant ended while it is in use', { ended: false, honest: 0 }, undefined],
  [19, 'packets without bytes, or beyond their page', { statuses: [[-1], [-1], [-1]], honest: 0 }, PACKET],
  [20, 'a first slot smaller than the others', { statuses: [[-1, -1, -1]], honest: 0 }, PACKET],
  [21, 'slots of no byte and of one', { statuses: [new Array(16).fill(0)], honest: 0 }, undefined],
  [22, 'extra infos that are none', { states: ['5', '5', '5', '5', '5'] }, VIF],
  [23, 'a crowd of multicast groups', { bounded: true, some: true }, undefined],
  [24, 'a flood to who takes nothing', { sent: 6400, received: 0 }, undefined],
  [
    27,
    'keys that make no sense',
    { states: new Array(7).fill('5') },
    'v[bi][df].* of domN.*(ring-ref|queues|ring-page-order)',
  ],
  [28, 'ports that are not free to bind', { states: ['5', '5', '5', '5'] }, 'port \\d+ of domN'],
  [41, 'a storm of events', { many: true, honest: 0 }, undefined],
  [47, 'flags that change under a map', { strange: 0, honest: 0 }, undefined],
];

const HYPERCALLS: readonly Row[] = [
  [42, 'every port, then a virq', { alloc: 'ENOSPC', virq: 'ENOSPC', all: true }, REFUSED],
  [
    44,
    'polls of too many ports, and of none that is',
    { many: 'EINVAL', bad: 'EINVAL', worst: 'EINVAL', soon: 'ok' },
    REFUSED,
  ],
  [48, 'handles that are nobody’s', { statuses: { GNTST_bad_handle: 4 } }, REFUSED],
  [
    49,
    'copies across pages, of foreign and of absent frames',
    {
      statuses: ['bad_copy_arg', 'bad_copy_arg', 'bad_copy_arg', 'bad_gntref', 'bad_page'].map(name => `GNTST_${name}`),
    },
    REFUSED,
  ],
  [51, 'forged continuations', { start: 9, exchange: 'EINVAL' }, REFUSED],
  [52, 'what only the control domain may', { answers: { EPERM: 512, EACCES: 256 } }, REFUSED],
  [53, 'reserved numbers of domains everywhere', { strange: [], refused: true }, REFUSED],
  [54, 'bytes and descriptors on its control socket', { bounded: true, served: 'ok' }, undefined],
  [55, 'other sizes for what it has open', { changed: 0 }, undefined],
  [56, 'to open anew for writing what it has open', { opened: 0 }, undefined],
];

const IGNORED = 'domN: xenstore ring ignored, error';
const EINVAL7 = new Array(8).fill('EINVAL');
const XENSTORE: readonly Row[] = [
  [57, 'lengths no message has', { faults: [3, 3, 3], reads: true }, `${IGNORED} 3`],
  [58, 'a producer beyond its ring', { fault: 2, reconnected: true, reads: true }, `${IGNORED} 2`],
  [59, 'messages that are none', { types: ['ENOSYS', 'ENOSYS'], transaction: 'ENOENT', paths: EINVAL7 }, undefined],
  [60, 'homes of nobody', { reads: ['EINVAL', 'EINVAL'], write: 'EINVAL' }, undefined],
  [61, 'nodes of others', { refused: new Array(8).fill('EACCES'), given: 'EPERM' }, undefined],
  [62, 'a watch of everything', { watched: 'ok OK', events: 1, domid: true }, undefined],
  [
    63,
    'more of everything',
    { transactions: 10, watches: 128, noWatch: 'ENOSPC', noNode: 'ENOSPC', nodes: true },
    undefined,
  ],
  [64, 'answers that are not read', { stopped: true, answered: true }, undefined],
  [66, 'a tree as deep as a path', { deep: 'ok OK', removed: 'ok OK' }, undefined],
  [67, 'transactions that lose, and one left open', { ends: ['EAGAIN'], left: true }, undefined],
  [
    68,
    'a reset inside a transaction, a release by a guest',
    { inside: true, release: 'EACCES', introduce: 'EACCES' },
    undefined,
  ],
  [69, 'keys that the toolstack reads', { keys: [...new Array(7).fill('EACCES'), 'ok OK'] }, undefined],
];

describe.each([
  ['a frontend', DEVICES],
  ['a guest', HYPERCALLS],
  ['a xenstore client', XENSTORE],
] as const)('%s that offers', (kind, rows) => {
  let mallory: BenchDomain;
  let before: Inventory;
  acts += rows.length;
  beforeAll(async () => {
    mallory = await stage.offender(kind.replaceAll(' ', '-'));
    expect(await mallory.run('warm')).toEqual({ warm: true });
    before = await stage.inventory();
  });
  afterAll(async () => {
    if (mallory) await stage.destroy(mallory);
  });
  it.each(rows)('act %i: %s', async (act, _what, outcome, named) => {
    stage.listen();
    expect(await mallory.run(act)).toEqual(outcome);
    if (named !== undefined)
      await stage.names(
        new RegExp(named.replaceAll('domN', `dom${mallory.domid}`).replaceAll('vifN', `vif${mallory.domid}`)),
      );
    await stage.leavesNothing(before);
    await contained();
  });
});

describe('a domain that ends with its act', () => {
  let before: Inventory;
  beforeAll(async () => {
    before = await stage.inventory();
  });
  const ends = (act: number, what: string, body: (mallory: BenchDomain) => Promise<void>, named?: string): void => {
    acts++;
    it(`act ${act}: ${what}`, async () => {
      stage.listen();
      const mallory = await stage.offender(`act-${act}`);
      mallory.start(act);
      await body(mallory);
      if (named) await stage.names(new RegExp(named.replaceAll('domN', `dom${mallory.domid}`)));
      await stage.destroy(mallory);
      await stage.leavesNothing(before);
      await contained();
    });
  };
  const saysSomething = async (mallory: BenchDomain, what: string): Promise<void> => {
    await stage.says(mallory, what);
  };

  ends(
    18,
    'is killed in the middle of its writes, of which each block is whole',
    async mallory => {
      await saysSomething(mallory, 'writes and writes');
      process.kill(stage.processOf(mallory), 'SIGKILL');
      await stage.names(new RegExp(`dom${mallory.domid}.*crashed`));
      const bytes = readFileSync(join(stage.folder, `${mallory.name}.img`));
      for (let at = 0; at < 64 * 4096; at += 512)
        expect(bytes.subarray(at, at + 512).every(byte => byte === bytes[at])).toBe(true);
    },
    'domN.*crashed',
  );
  ends(
    25,
    'makes the indices of its console impossible',
    async () => {},
    'console of domN: its ring indices are impossible',
  );
  ends(
    26,
    'floods its console with escape sequences and lines of others',
    async mallory => {
      await stage.names(new RegExp(`console of dom${mallory.domid}: writes faster than it may`));
      expect(stage.host.log()).not.toContain('\x1b');
      expect(stage.host.consoleLog(mallory.name).length).toBeLessThan(2 << 20);
    },
    'console of domN: writes faster than it may',
  );
  ends(29, 'removes its device’s node while it is connected', async mallory => {
    expect(await mallory.finish()).toEqual({ left: true });
  });
  ends(43, 'resets its ports while others are bound to them', async () => {});
  ends(45, 'scribbles over shared_info', mallory => saysSomething(mallory, 'scribbles'));
  ends(46, 'scribbles over its grant table while it is mapped', mallory => saysSomething(mallory, 'scribbles'));
});

describe('a config', () => {
  let before: Inventory;
  beforeAll(async () => {
    before = await stage.inventory();
  });
  const create = (text: string | Uint8Array): Promise<XlResult> => {
    writeFileSync(join(stage.folder, 'bad.cfg'), text);
    return stage.host.xl('create', '-q', join(stage.folder, 'bad.cfg'));
  };
  const kernel = (): string => `kernel = "${stage.folder}/mallory.js"\nmemory = 16\n`;
  const refuses = (act: number, what: string, texts: () => readonly (string | Uint8Array)[]): void => {
    acts++;
    it(`act ${act}: ${what}`, async () => {
      for (const text of texts()) {
        const { exitCode, stderr } = await create(text);
        expect(exitCode, String(text).slice(0, 200)).not.toBe(0);
        expect(stderr).not.toMatch(/\n\s+at /);
        expect(stderr.length).toBeLessThan(2000);
      }
      await stage.leavesNothing(before);
      await contained();
    });
  };
  refuses(70, 'with names that are paths or a megabyte', () => [
    ...['../x', 'x'.repeat(1 << 20)].map(name => `name = "${name}"\n${kernel()}`),
    'x'.repeat(1 << 20),
    `name = "a"\n${kernel()}disk = ["${'x'.repeat(1 << 20)},raw,xvda,w"]`,
  ]);
  acts++;
  it('act 70: with names that are commands or lines, which are names and no more', async () => {
    for (const name of ['$(id)', 'a\\nforged']) {
      const { exitCode, stderr } = await create(`name = "${name}"\n${kernel()}`);
      expect(stderr).not.toMatch(/\n\s+at /);
      const made = await stage.host.domains();
      for (const one of made) if (one.domid > stage.innocent.domid) await stage.host.xl('destroy', String(one.domid));
      if (exitCode === 0) expect(stage.host.log()).not.toMatch(/^forged/m);
    }
    await stage.leavesNothing(before);
    await contained();
  });
  refuses(72, 'with a kernel of 2 GiB, one cut off, one that is a bomb', () => {
    const bomb = join(stage.folder, 'bomb.gz');
    spawnSync('sh', ['-c', `head -c 200000000 /dev/zero | gzip > ${bomb}`]);
    image(join(stage.folder, 'large.js'), 2 ** 31);
    image(join(stage.folder, 'empty.js'), 0);
    return ['large.js', 'empty.js', 'bomb.gz'].map(
      name => `name = "k"\nmemory = 16\nkernel = "${stage.folder}/${name}"\n`,
    );
  });
  acts += 3;
  it('act 71: with a disk of 2^62 bytes, a link, one that looks like qcow2: all of them raw, none probed', async () => {
    const disks = ['huge', 'link', 'qcow'].map(name => join(stage.folder, `${name}.img`));
    const real = image(join(stage.folder, 'real.img'), 1 << 20);
    try {
      image(disks[0]!, 2 ** 43);
    } catch {
      image(disks[0]!, 2 ** 40); // as large as the file system takes
    }
    symlinkSync(real, disks[1]!);
    writeFileSync(disks[2]!, Buffer.concat([Buffer.from('QFI\xfb\x00\x00\x00\x03', 'latin1'), Buffer.alloc(4096)]));
    const specs = disks.map((path, i) => `"${path},raw,xvd${'abc'[i]},r"`).join(', ');
    const made = await create(`name = "disks"\n${kernel()}disk = [${specs}]\n`);
    expect(made.stderr).toBe('');
    const { stdout } = await stage.host.xl('block-list', 'disks');
    expect(stdout.trim().split('\n')).toHaveLength(4);
    await stage.host.xl('destroy', 'disks');
    await stage.leavesNothing(before);
    await contained();
  });
  it('act 54: bytes and 253 descriptors at the sockets of tools: connections end, and no descriptor stays', async () => {
    const { runDir } = stage.host;
    const paths = runPaths(runDir);
    for (const path of [paths.toolstackSocket, paths.xenstoredSocket, paths.consoleSocket(stage.innocent.domid)]) {
      for (const [length, fds] of [
        [1, 1],
        [24, 253],
        [4096, 253],
        [16, 2],
      ] as const) {
        const socket = streamSocket();
        expect(connectSocket(socket, path)).toBe(0);
        expect(sendDescriptors(socket, length, fds, socket)).toBe(length);
        closeFd(socket);
      }
    }
    expect((await stage.host.domains()).length).toBeGreaterThan(1);
    await stage.leavesNothing(before);
    await contained();
  });
  it('act 74: in a loop of plugging and unplugging', async () => {
    const mallory = await stage.offender('looped');
    const atRest = await stage.inventory();
    image(join(stage.folder, 'loop.img'), 1 << 20);
    for (let n = 0; n < 5; n++) {
      const spec = `${stage.folder}/loop.img,raw,xvdc,w`;
      expect((await stage.host.xl('block-attach', 'looped', spec)).exitCode).toBe(0);
      expect((await stage.host.xl('block-detach', '--force', 'looped', 'xvdc')).exitCode).toBe(0);
    }
    await stage.leavesNothing(atRest);
    await stage.destroy(mallory);
    await stage.leavesNothing(before);
    await contained();
  });
});
