// The backend of shared folders against whatever a frontend can write: messages, bytes and indices of its rings. It is answered
// or loses its folder; nothing outside of the folder is seen or changed, nothing stays open, mapped or bound, and the next one is
// served.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  domid,
  ERRNO,
  P9,
  P9_HEADER,
  P9_NOFID,
  P9_VERSION,
  P9Reader,
  P9Writer,
  pvcalls_data_intf,
  type Vcpu,
  type XenError,
} from '#pvbus';
import { P9Connection } from '../../../dom0/backends/p9/connection.ts';
import { type DataRing, DataRings } from '../../../domu-kernel/drivers/data-rings.ts';
import { CoreRig } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';
import { ScratchFolder } from '../../support/scratch-folder.ts';

const CASES_PER_RIG = 500;
const SECRET = 'not for the guest';
/** Of the largest file that Linux makes here. */
const FAR = 2n ** 40n;

const name = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('a', 'b', 'd', 'l', 'a', 'd') },
  { weight: 1, arbitrary: fc.constantFrom('..', '.', '', 'a/b', '/', '../secret', 'a\0b', 'x'.repeat(300)) },
  { weight: 1, arbitrary: fc.string({ maxLength: 6, unit: 'binary' }) },
);
const fid = fc.oneof(fc.nat(4), fc.nat(4), fc.constantFrom(P9_NOFID, 0x7fffffff));
const number = fc.oneof(fc.nat(5), fc.constantFrom(0o100, 0o1001, 0o2002, 0o777, 4096, 32768, 0xffffffff));
const long = fc.oneof(fc.nat(9000).map(BigInt), fc.constantFrom(2n ** 31n, FAR, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n));
type Put = (out: P9Writer) => unknown;
const f = fid.map(
  (n): Put =>
    out =>
      out.u32(n),
);
const n = number.map(
  (value): Put =>
    out =>
      out.u32(value),
);
const l = long.map(
  (value): Put =>
    out =>
      out.u64(value),
);
const s = name.map(
  (text): Put =>
    out =>
      out.string(text),
);
const walk = fc.array(name, { maxLength: 3 }).map(
  (names): Put =>
    out => {
      out.u16(names.length);
      for (const one of names) out.string(one);
    },
);
const data = fc.tuple(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(0, 0, 0, 1, 0xffffffff)).map(
  ([bytes, more]): Put =>
    out =>
      out.u32((bytes.length + more) >>> 0).data(bytes),
);
/** As the protocol has them; what is said with them is anything. */
const shapes: readonly (readonly [number, readonly fc.Arbitrary<Put>[]])[] = [
  [P9.Tattach, [f, f, s, s, n]],
  [P9.Twalk, [f, f, walk]],
  [P9.Twalk, [f, f, walk]],
  [P9.Tlopen, [f, n]],
  [P9.Tlcreate, [f, s, n, n, n]],
  [P9.Tread, [f, l, n]],
  [P9.Twrite, [f, l, data]],
  [P9.Treaddir, [f, l, n]],
  [P9.Tgetattr, [f, l]],
  [P9.Tsetattr, [f, n, n, n, n, l, l, l, l, l]],
  [P9.Tmkdir, [f, s, n, n]],
  [P9.Tsymlink, [f, s, s, n]],
  [P9.Tlink, [f, f, s]],
  [P9.Treadlink, [f]],
  [P9.Trenameat, [f, s, f, s]],
  [P9.Tunlinkat, [f, s, n]],
  [P9.Tstatfs, [f]],
  [P9.Tfsync, [f, n]],
  [P9.Tclunk, [f]],
  [P9.Tflush, [n]],
  [P9.Tversion, [n, s]],
];
const shaped = fc.oneof(
  ...shapes.map(([type, fields]) => fc.tuple(...fields).map(puts => ({ type, puts: puts as readonly Put[] }))),
);
const message = fc.oneof(
  { weight: 12, arbitrary: shaped },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.oneof(fc.nat(255), fc.constantFrom(...Object.values(P9))),
      puts: fc.array(fc.oneof(f, n, l, s, walk, data), { maxLength: 8 }),
    }),
  },
);
const act = fc.record({
  message,
  tag: fc.oneof(fc.constant(1), fc.nat(0xffff)),
  /** What its size says beside what it is. */
  more: fc.oneof(
    { weight: 30, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: -20, max: 40_000 }) },
  ),
  second: fc.boolean(),
  scribble: fc.oneof(
    { weight: 40, arbitrary: fc.constant(undefined) },
    {
      weight: 1,
      arbitrary: fc.tuple(fc.constantFrom('in_cons', 'in_prod', 'out_prod', 'out_cons'), fc.integer()),
    },
  ),
  taken: fc.integer({ min: 0, max: 9 }).map(taken => taken > 0),
});

class FolderUnderFire {
  readonly outside = new ScratchFolder();
  readonly folder = join(this.outside.path, 'shared');
  readonly core = new CoreRig();
  readonly guest: Vcpu;
  readonly dom0: Vcpu;
  readonly rings: DataRings;
  cases = 0;
  constructor() {
    const guest = this.core.guest({ pages: 1024 });
    this.guest = guest.kernel();
    this.dom0 = this.core.dom0.kernel(4);
    this.rings = new DataRings(this.guest, domid(0), 2);
  }
  /** With a file, a directory and a link that leads out. */
  fill(): void {
    this.outside.empty();
    writeFileSync(join(this.outside.path, 'secret'), SECRET);
    mkdirSync(join(this.folder, 'd'), { recursive: true });
    writeFileSync(join(this.folder, 'a'), 'a'.repeat(5000));
  }
  connect(rings: readonly DataRing[], readOnly: boolean, fatal: XenError[]): P9Connection {
    return new P9Connection({
      ...{ vcpu: this.dom0, frontend: domid(this.guest.domid), label: '9pfs 0 of dom1' },
      ...{ path: this.folder, readOnly, rings: rings.map(({ ref, port }) => ({ ref, evtchn: port })) },
      onFatal: error => fatal.push(error),
    });
  }
}
let rig: FolderUnderFire | undefined;
const room = new P9Writer(1 << 16);
const answer = new Uint8Array(1 << 16);
const reader = new P9Reader();

/** Takes what was answered. A frontend can see which failure is the backend's own: there is no disk here that could fail. */
function look(ring: DataRing): number {
  let answers = 0;
  while (ring.reader.readable() >= P9_HEADER) {
    ring.reader.read(answer.subarray(0, 4));
    const size = new DataView(answer.buffer).getUint32(0, true);
    if (size < P9_HEADER || size > ring.reader.size) throw new Error(`an answer of ${size} bytes`);
    ring.reader.read(answer.subarray(4, size));
    const { type } = reader.begin(answer.subarray(0, size));
    if (type === P9.Rlerror && reader.u32() === ERRNO.EIO) throw new Error('an error of its own');
    answers++;
  }
  return answers;
}

export const folderRings = fc.property(
  fc.array(act, { maxLength: 20 }),
  fc.boolean(),
  fc.integer({ min: 0, max: 9 }),
  (acts, readOnly, greeted) => {
    const here = rig ?? new FolderUnderFire();
    rig = undefined; // after a failure there is a new one
    const { core, dom0 } = here;
    here.fill();
    const { mappings } = core.dom0.domain.grants;
    const ports = core.dom0.domain.ports.open;
    const made = [here.rings.make(() => {}), here.rings.make(() => {})] as const;
    const fatal: XenError[] = [];
    const connection = here.connect(made, readOnly, fatal);
    const send = (bytes: Uint8Array, ring: DataRing): void => {
      ring.writer.write(bytes);
      ring.notify();
    };
    const step = (): void => {
      dom0.events.poll();
      for (let turn = 0; connection.step() === 'progress'; turn++) if (turn > 100) throw new Error('it goes on and on');
    };
    if (greeted > 0) {
      send(room.begin(P9.Tversion, 0xffff).u32(32768).string(P9_VERSION).end(), made[0]);
      send(room.begin(P9.Tattach, 1).u32(0).u32(P9_NOFID).string('').string('').u32(0).end(), made[0]);
      step();
      if (look(made[0]) !== 2) throw new Error('who came after a hostile frontend is not served');
    }
    let [scribbled, asked, answers] = [false, 0, 0];
    for (const { message, tag, more, second, scribble, taken } of acts) {
      const ring = made[second ? 1 : 0];
      room.begin(message.type, tag);
      for (const put of message.puts) put(room);
      const bytes = room.end();
      if (more !== 0) new DataView(bytes.buffer).setUint32(0, bytes.length + more, true);
      send(bytes, ring);
      asked++;
      if (more < 0) asked += Math.ceil(-more / P9_HEADER);
      if (scribble !== undefined) {
        const { words } = ring.writer as unknown as { words: Int32Array };
        words[pvcalls_data_intf.at[scribble[0] as 'in_cons'] / 4] = scribble[1];
        scribbled = true;
      }
      step();
      if (taken && !scribbled) for (const one of made) answers += look(one);
    }
    if (answers > asked) throw new Error(`${answers} answers to ${asked} messages`);
    if (fatal.length > 1) throw new Error('it was given up twice');
    if (fatal.some(({ code, message }) => code !== 'EPROTO' || !message.startsWith('9pfs 0 of dom1: '))) throw fatal[0];
    connection.close();
    if (here.outside.open !== 0) throw new Error(`${here.outside.open} files stay open`);
    if (!made.every(ring => ring.free())) throw new Error('pages stay mapped');
    if (core.dom0.domain.grants.mappings !== mappings) throw new Error('grants stay mapped');
    if (core.dom0.domain.ports.open !== ports) throw new Error('ports stay bound');
    if (core.internalErrors.length > 0) throw new Error(core.internalErrors.join('\n'));
    if (readdirSync(here.outside.path).toSorted().join() !== 'secret,shared') throw new Error('something is outside');
    if (readFileSync(join(here.outside.path, 'secret'), 'utf8') !== SECRET) throw new Error('the secret was changed');
    if (readOnly && readdirSync(here.folder).toSorted().join() !== 'a,d')
      throw new Error('a read-only folder was changed');
    if (++here.cases === CASES_PER_RIG) here.outside.remove();
    else rig = here;
  },
);
