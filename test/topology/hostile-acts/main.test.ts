// The acts of docs/hostile-acts.md on real processes, one after the other, by a domain whose kernel was written for
// them. After each: it is contained and named, the innocent's checked disk, packets and xenstore have seen nothing of it
// and go on, and all there is of the host is as it was.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { closeFd, connectSocket, runPaths, streamSocket } from '#pvbus';
import { withXenstore } from '../../../tools/library/with-xenstore.ts';
import { BenchDomain } from '../../bench/bench-domain.ts';
import type { XlResult } from '../../support/host-rig.ts';
import type { Inventory } from '../../support/inventory.ts';
import { sendDescriptors } from './descriptors.ts';
import { image } from './kernels.ts';
import { IDLE, Stage } from './stage.ts';

let stage: Stage;
let acts = 0;
beforeAll(async () => {
  stage = await Stage.start();
});
afterAll(async () => {
  await stage?.stop();
  console.log(`hostile acts: ${stage?.contained} of ${acts} ${IDLE ? 'seen not to be done' : 'contained'}`);
});

/**
 * What the log says, of the domain whose number is put for N. undefined: it blames that domain for nothing, since it may do so,
 * or since no process of the host hears of it.
 */
type Named = string | undefined;
type Row = readonly [act: number, what: string, outcome: Record<string, unknown>, named: Named];

/** What a storm is heard. */
const WAKES = 500;
const RING = 'vbd 51712 of domN: its ring claims more requests than it holds';
const REQUEST = 'vbd 51712 of domN: request .*failed';
const VIF = 'vifN\\.0: disabled: domN broke the protocol';
const PACKET = 'vifN\\.0: domN sent a packet of .* that cannot be taken';
const REFUSED = 'domN: .*refused: \\w+; \\d+ refusals so far';
const XENSTORE_REFUSED = (code: string): string => `domN: XS[_ ]\\w+ refused: ${code}; \\d+ such refusals so far`;
const QUOTA = (quota: string): string => `domN: XS_\\w+ refused: ENOSPC: its quota of ${quota} is`;
const LOST = { honest: 0, state: '5', answered: false };
/** An interface, or the bridge, has more to do than it can: packets of others are lost as well. */
const OF_THE_NETWORK = new Set([19, 20, 21, 22, 23, 24]);
const bad = (...statuses: number[]) => ({ statuses, honest: 0 });

const DEVICES: readonly Row[] = [
  [1, 'fault 14: a ring and one more', LOST, RING],
  [2, 'fault 14: 2^31 requests', LOST, RING],
  [3, 'fault 14: a producer that goes back', LOST, RING],
  [4, 'indices that wrap, which is legal', { statuses: new Array(12).fill(0), wrapped: 7 }, undefined],
  [5, "the backend's index overwritten", { status: 0 }, undefined],
  [6, 'an event index far away', { status: 0, told: 0 }, undefined],
  [7, 'a gref that changes under the request', { statuses: [-1, 0], honest: 0 }, REQUEST],
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
  [23, 'a crowd of multicast groups', { taken: 64, refused: 1936 }, 'vifN\\.0: domN sent a multicast group too many'],
  [24, 'a flood to who takes nothing', { sent: 6400, received: 0 }, undefined],
  [
    27,
    'keys that make no sense',
    { states: new Array(7).fill('5') },
    'v[bi][df].* of domN.*(ring-ref|queues|ring-page-order)',
  ],
  [28, 'ports that are not free to bind', { states: ['5', '5', '5', '5'] }, 'port \\d+ of domN'],
  [
    47,
    'flags that change under a map',
    { statuses: [-1, 0], honest: 0 },
    'vbd 51712 of domN: request .*GNTST_general_error',
  ],
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
  [
    50,
    'arguments that change during the call',
    { statuses: ['GNTST_bad_copy_arg', 'GNTST_okay'], beyond: 0, whole: true, honest: 'GNTST_okay' },
    REFUSED,
  ],
  [51, 'forged continuations', { start: 9, exchange: 'EINVAL' }, REFUSED],
  [52, 'what only the control domain may', { answers: { EPERM: 512, EACCES: 256 } }, REFUSED],
  [53, 'reserved numbers of domains everywhere', { strange: [], refused: true }, REFUSED],
  [54, 'bytes and descriptors on its control socket', { tried: 13, last: 'EPERM', served: 'ok' }, undefined],
  [55, 'other sizes for what it has open', { some: true, changed: 0 }, undefined],
  [56, 'to open anew for writing what it has open', { tried: 256, opened: 0 }, undefined],
];

const IGNORED = 'domN: xenstore ring ignored, error';
const EINVAL7 = new Array(8).fill('EINVAL');
const XENSTORE: readonly Row[] = [
  [57, 'lengths no message has', { faults: [3, 3, 3], reads: true }, `${IGNORED} 3`],
  [58, 'a producer beyond its ring', { fault: 2, reconnected: true, reads: true }, `${IGNORED} 2`],
  [
    59,
    'messages that are none',
    { types: ['ENOSYS', 'ENOSYS'], transaction: 'ENOENT', paths: EINVAL7 },
    XENSTORE_REFUSED('ENOSYS'),
  ],
  [60, 'homes of nobody', { reads: ['EINVAL', 'EINVAL'], write: 'EINVAL' }, XENSTORE_REFUSED('EINVAL')],
  [61, 'nodes of others', { refused: new Array(8).fill('EACCES'), given: 'EPERM' }, XENSTORE_REFUSED('EACCES')],
  [62, 'a watch of everything', { watched: 'ok OK', events: 1, domid: true }, undefined],
  [
    63,
    'more of everything',
    { transactions: 10, watches: 128, noWatch: 'ENOSPC', noNode: 'ENOSPC', nodes: true },
    QUOTA('(transactions|watches|nodes)'),
  ],
  [64, 'answers that are not read', { stopped: true, answered: true }, undefined],
  [66, 'a tree as deep as a path', { deep: 'ok OK', removed: 'ok OK' }, undefined],
  [67, 'transactions that lose, and one left open', { ends: ['EAGAIN'], left: true }, undefined],
  [
    68,
    'a reset inside a transaction, a release by a guest',
    { inside: true, release: 'EACCES', introduce: 'EACCES' },
    XENSTORE_REFUSED('EACCES'),
  ],
  [
    69,
    'keys that the toolstack reads',
    { keys: [...new Array(7).fill('EACCES'), 'ok OK'] },
    XENSTORE_REFUSED('EACCES'),
  ],
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
    const perform = () => stage.beside(() => mallory.run(act), OF_THE_NETWORK.has(act));
    const came = await perform();
    await stage.seen(() => expect(came).toEqual(outcome));
    if (named === undefined) stage.blamesNobody(mallory);
    else await stage.seen(() => stage.names(named, mallory, perform));
    await stage.leavesNothing(before);
    stage.contained++;
  });
});

describe('a domain that ends with its act', () => {
  let before: Inventory;
  beforeAll(async () => {
    before = await stage.inventory();
  });
  /** `more`: of its config. `body` begins it, looks at what comes of it, and leaves the innocent beside what is left of it. */
  const ends = (act: number, what: string, body: (mallory: BenchDomain) => Promise<void>, more = ''): void => {
    acts++;
    it(`act ${act}: ${what}`, async () => {
      stage.listen();
      const mallory = await stage.offender(`act-${act}`, more);
      await body(mallory);
      await stage.othersGetOn();
      await stage.destroy(mallory);
      await stage.leavesNothing(before);
      stage.contained++;
    });
  };
  /** With its last words. */
  const crashed = (mallory: BenchDomain, words: string): Promise<void> =>
    stage.seen(() => stage.names(`domN\\) has crashed: .*the act is done: ${words}`, mallory));

  ends(18, 'is killed in the middle of its writes, of which each block is whole', async mallory => {
    mallory.start(18);
    await stage.seen(() => stage.says(mallory, 'writes and writes'));
    await stage.othersGetOn();
    await stage.does(async () => process.kill(stage.processOf(mallory), 'SIGKILL'));
    await stage.seen(() => stage.names('domN.*crashed', mallory));
    const bytes = readFileSync(join(stage.folder, `${mallory.name}.img`));
    for (let at = 0; at < 64 * 4096; at += 512)
      expect(bytes.subarray(at, at + 512).every(byte => byte === bytes[at])).toBe(true);
    await stage.seen(() => expect(bytes.subarray(0, 64 * 4096).some(byte => byte !== 0)).toBe(true));
  });
  ends(25, 'makes the indices of its console impossible', async mallory => {
    mallory.start(25);
    await stage.seen(() => stage.names('console of domN: its ring indices are impossible', mallory));
  });
  ends(26, 'floods its console with escape sequences and lines of others', async mallory => {
    mallory.start(26);
    await stage.seen(() => stage.names('console of domN: writes faster than it may', mallory));
    expect(stage.host.log()).not.toContain('\x1b');
    expect(stage.host.consoleLog(mallory.name).length).toBeLessThan(2 << 20);
    await stage.seen(() => expect(stage.host.consoleLog(mallory.name)).toContain('forged: dom0 says all is well'));
  });
  ends(29, 'removes its device’s node while it is connected', async mallory => {
    const came = await mallory.run(29);
    await stage.seen(() => expect(came).toEqual({ left: true }));
  });
  const SIDE_BY_SIDE = 'resets its ports while another one binds them, and while it does so itself, or opens one';
  const resets = async (mallory: BenchDomain): Promise<void> => {
    const peer = await stage.offender('binds');
    peer.start(`bind: ${mallory.domid}`);
    mallory.start(`43: ${peer.domid}`);
    await crashed(mallory, '{"resets":{"ok":50},"second":true,"late":true}');
    const came = (await peer.finish()) as unknown as { answers: Record<string, number>; bound: number };
    await stage.seen(() => expect(came).toMatchObject({ connected: 0 }));
    await stage.seen(() => expect(came.bound).toBeGreaterThan(0));
    await stage.seen(() => expect(Object.keys(came.answers).sort()).toEqual(['EINVAL', 'ESRCH', 'ok']));
    // Who asks for ports that are closed, and goes on.
    await stage.seen(() => stage.names('domN: event_channel_op .*refused', peer));
    await stage.destroy(peer);
  };
  ends(43, SIDE_BY_SIDE, resets, 'maxvcpus = 2');
  ends(45, 'scribbles over shared_info', async mallory => {
    mallory.start(45);
    await crashed(mallory, '{"words":\\d+,"answers":{"ok":200}}');
  });
  ends(46, 'scribbles over its grant table while it is mapped', async mallory => {
    const came = await mallory.run(46);
    // Of all its words one has changed: that of the ring, whose two flags the unmap has cleared.
    await stage.seen(() => expect(came).toEqual({ scribbled: 1024, changed: [[0, 24]] }));
  });
  ends(65, 'reads none of its watch events, while others write', async mallory => {
    mallory.start(65);
    await withXenstore(stage.host, async xs => {
      const path = `/local/domain/${mallory.domid}/data`;
      for (let n = 0; n < 500; n++) await xs.write(`${path}/${n}`, '');
      await stage.seen(() => stage.names(`${IGNORED} 1`, mallory));
    });
    const came = await mallory.finish();
    await stage.seen(() => expect(came).toEqual({ fault: 1, reconnected: true, reads: true }));
  });
});

describe('storms', () => {
  it(`act 41: of events by one domain, and then by several, are heard ${WAKES} times a second each, and dom0 goes on with the others`, async () => {
    const before = await stage.inventory();
    const many: BenchDomain[] = [];
    for (const n of [1, 2, 3]) many.push(await stage.offender(`storm-${n}`));
    stage.listen();
    const from = performance.now();
    for (const at of [many.slice(0, 1), many]) {
      // As often as it takes until each of them is made to wait: how fast they are is the machine's.
      await stage.seen(() =>
        stage.eventually('dom0 has had enough of each of them', async () => {
          const came = await stage.beside(() => Promise.all(at.map(one => one.run(41))));
          for (const { sent, honest } of came) {
            expect(sent).toBeGreaterThanOrEqual(10_000);
            expect(honest).toBe(0);
          }
          return at.every(({ domid }) => inVain(domid).length > 0);
        }),
      );
      const seconds = (performance.now() - from) / 1000;
      for (const { domid } of at)
        for (const wakes of inVain(domid)) expect(wakes).toBeLessThanOrEqual(1 + WAKES * seconds);
    }
    for (const one of many) await stage.destroy(one);
    await stage.leavesNothing(before);
    stage.contained++;
  });
  acts++;
  /** As the log has it: how often it has woken a thread of dom0's for nothing beyond what is forgiven. */
  const inVain = (domid: number): number[] =>
    [...stage.said().matchAll(new RegExp(` dom${domid}: its events bring nothing.*; (\\d+) such`, 'g'))].map(([, n]) =>
      Number(n),
    );
});

describe('a config', () => {
  let before: Inventory;
  beforeAll(async () => {
    before = await stage.inventory();
  });
  const create = (text: string): Promise<XlResult | undefined> => {
    writeFileSync(join(stage.folder, 'bad.cfg'), text);
    return stage.does(() => stage.host.xl('create', '-q', join(stage.folder, 'bad.cfg')));
  };
  const kernel = (): string => `kernel = "${stage.folder}/mallory.js"\nmemory = 16\n`;
  const refuses = (act: number, what: string, texts: () => readonly string[]): void => {
    acts++;
    it(`act ${act}: ${what}`, async () => {
      for (const text of texts()) {
        const made = await stage.beside(() => create(text));
        await stage.seen(() => {
          expect(made!.exitCode, text.slice(0, 200)).toBeGreaterThan(0);
          expect(made!.stderr).not.toBe('');
        });
        expect(made?.stderr ?? '').not.toMatch(/\n\s+at /);
        expect(made?.stderr.length ?? 0).toBeLessThan(2000);
      }
      await stage.leavesNothing(before);
      stage.contained++;
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
      const made = await create(`name = "${name}"\n${kernel()}`);
      expect(made?.stderr ?? '').not.toMatch(/\n\s+at /);
      const listed = await stage.host.domains();
      const strangers = listed.filter(({ domid }) => domid > stage.innocent.domid);
      // It is a name, as it is written, or none.
      await stage.seen(() => expect(made!.exitCode === 0 ? strangers.length : made!.stderr).toBeTruthy());
      expect(stage.host.log()).not.toMatch(/^forged|uid=/m);
      await stage.othersGetOn();
      for (const { domid } of strangers) await stage.host.xl('destroy', String(domid));
    }
    await stage.leavesNothing(before);
    stage.contained++;
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
  acts += 5;
  it('act 71: with a disk as large as a file can be, a link, one that looks like qcow2: all of them raw to the last sector, none probed', async () => {
    const paths = ['huge', 'link', 'qcow'].map(name => join(stage.folder, `${name}.img`));
    const [huge, link, qcow] = paths as [string, string, string];
    const bytes = hugest(huge);
    const real = join(stage.folder, 'real.img');
    writeFileSync(real, Buffer.concat([Buffer.from('far away'), Buffer.alloc(8184)]));
    symlinkSync(real, link);
    const head = Buffer.from('QFI\xfb\x00\x00\x00\x03', 'latin1');
    writeFileSync(qcow, Buffer.concat([head, Buffer.alloc(4088)]));
    const specs = paths.map((path, i) => `"${path},raw,xvd${'abc'[i]},r"`).join(', ');
    const config = `kernel = "${stage.folder}/mallory.js"\ndisk = [${specs}]`;
    const disks = await BenchDomain.create(stage.host, stage.folder, 'disks', config);
    await stage.told(disks);
    const came = await stage.beside(() => disks.run('71: 51712 51728 51744'));
    const statuses = [0, 0, -1];
    await stage.seen(() =>
      expect(came).toEqual({
        disks: [
          { sectors: `${bytes / 512n}`, begins: '\0'.repeat(8), statuses },
          { sectors: '16', begins: 'far away', statuses },
          { sectors: '8', begins: head.toString('latin1'), statuses },
        ],
      }),
    );
    await stage.destroy(disks);
    await stage.leavesNothing(before);
    stage.contained++;
  });
  it('act 55: of a guest’s memory, whoever has it open: its size is sealed', async () => {
    const mallory = await stage.offender('sealed');
    const tried = await stage.does(async () =>
      stage.host.processes().flatMap(pid => resized(pid, `/memfd:xenolith-dom${mallory.domid} `)),
    );
    await stage.seen(() => expect(tried!.length).toBeGreaterThan(0));
    expect(tried?.filter(code => code !== 'EPERM') ?? []).toEqual([]);
    await stage.othersGetOn();
    await stage.destroy(mallory);
    await stage.leavesNothing(before);
    stage.contained++;
  });
  it('act 69: of a guest that has written what it may: xl goes by what it keeps itself', async () => {
    const mallory = await stage.offender('forger');
    const verbs = [
      ['block-list', 'forger'],
      ['network-list', 'forger'],
      ['domname', String(mallory.domid)],
    ];
    const all = (): Promise<string[]> => Promise.all(verbs.map(async verb => (await stage.host.xl(...verb)).stdout));
    const said = await all();
    const came = await mallory.run(69);
    await stage.seen(() => expect(came.keys).toContain('ok OK'));
    expect(await all()).toEqual(said);
    const { exitCode } = await stage.host.xl('block-detach', '--force', 'forger', 'xvda');
    expect(exitCode).toBe(0);
    await stage.othersGetOn();
    await stage.destroy(mallory);
    await stage.leavesNothing(before);
    stage.contained++;
  });
  it('act 54: bytes and 253 descriptors at the sockets of tools: connections end, and no descriptor stays', async () => {
    const { runDir } = stage.host;
    const paths = runPaths(runDir);
    const sockets = [paths.toolstackSocket, paths.xenstoredSocket, paths.consoleSocket(stage.innocent.domid)];
    const taken = await stage.does(async () => sockets.flatMap(offered));
    await stage.seen(() => expect(taken).toEqual(sockets.flatMap(() => [1, 24, 4096, 16])));
    expect((await stage.host.domains()).length).toBeGreaterThan(1);
    await stage.othersGetOn();
    await stage.leavesNothing(before);
    stage.contained++;
  });
  it('act 74: in a loop of plugging, use and unplugging', async () => {
    const mallory = await stage.offender('looped');
    expect(await mallory.run('warm')).toEqual({ warm: true });
    const atRest = await stage.inventory();
    const spec = `${image(join(stage.folder, 'loop.img'), 1 << 20)},raw,xvdc,w`;
    const rounds = await stage.does(() =>
      stage.beside(async () => {
        const done: unknown[] = [];
        for (let n = 0; n < 5; n++) {
          const attached = (await stage.host.xl('block-attach', 'looped', spec)).exitCode;
          const used = await mallory.run('74: 51744');
          const detached = (await stage.host.xl('block-detach', '--force', 'looped', 'xvdc')).exitCode;
          done.push({ attached, used, detached });
        }
        return done;
      }),
    );
    const good = { attached: 0, used: { honest: 0 }, detached: 0 };
    await stage.seen(() => expect(rounds).toEqual(new Array(5).fill(good)));
    await stage.leavesNothing(atRest);
    await stage.destroy(mallory);
    await stage.leavesNothing(before);
    stage.contained++;
  });
});

/** Bytes and descriptors to a socket, a connection each: how many bytes it has taken. */
function offered(path: string): number[] {
  return (
    [
      [1, 1],
      [24, 253],
      [4096, 253],
      [16, 2],
    ] as const
  ).map(([length, fds]) => {
    const socket = streamSocket();
    expect(connectSocket(socket, path)).toBe(0);
    const taken = sendDescriptors(socket, length, fds, socket);
    closeFd(socket);
    return taken;
  });
}
/** What comes of cutting and stretching each file of that name that a process has open. */
function resized(pid: number, name: string): string[] {
  const folder = `/proc/${pid}/fd`;
  const files = readdirSync(folder).filter(fd => isNamed(`${folder}/${fd}`, name));
  return files.flatMap(fd => {
    const file = openSync(`${folder}/${fd}`, 'r+');
    const codes = [0, fstatSync(file).size * 2].map(size => codeOf(() => ftruncateSync(file, size)));
    closeSync(file);
    return codes;
  });
}
function isNamed(path: string, name: string): boolean {
  try {
    return readlinkSync(path).startsWith(name);
  } catch {
    return false; // closed meanwhile
  }
}
function codeOf(act: () => void): string {
  try {
    act();
    return 'done';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
/** A sparse file of as many bytes as the file system lets it have. */
function hugest(path: string): bigint {
  for (let bytes = 2n ** 62n; ; bytes /= 2n)
    if (spawnSync('truncate', ['-s', String(bytes), path]).status === 0) return bytes;
}
