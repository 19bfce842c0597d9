// A guest's shared folder against whatever its backend answers: mostly right answers, with something wrong in some of them, in
// the ring's indices, or no answer at all. Calls end, with a XenError at worst; what they tell of files is what files can be.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { domid, pvcalls_data_intf, type Vcpu, XenError } from '#pvbus';
import { MappedDataRing } from '../../../dom0/backends/mapped-data-ring.ts';
import { P9Server } from '../../../dom0/backends/p9/server.ts';
import { P9Client } from '../../../domu-kernel/drivers/p9front/client.ts';
import type { Vnode } from '../../../domu-kernel/fs/file-system.ts';
import { P9FileSystem } from '../../../domu-kernel/fs/p9-file-system.ts';
import { CoreRig } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';
import { ScratchFolder } from '../../support/scratch-folder.ts';

const CASES_PER_RIG = 500;
const ORDER = 2;
/** Messages of one call: what needs more does not end. */
const MANY = 400;
const SILENT_TURNS = 3;

const lie = fc.record({
  /** Which message of the case it is about, and whether all that follow, too. */
  at: fc.nat(40),
  forever: fc.boolean(),
  kind: fc.constantFrom('byte', 'byte', 'word', 'long', 'cut', 'grow', 'silence', 'rubbish', 'index', 'size'),
  where: fc.oneof({ weight: 3, arbitrary: fc.nat(40) }, { weight: 1, arbitrary: fc.nat(200) }),
  value: fc.oneof(fc.nat(255), fc.integer(), fc.constantFrom(0, 1, 0x7fffffff, -1, 8, 2, 34)),
  /** So many bytes of an answer at once. */
  piece: fc.constantFrom(1, 3, 5000, 5000),
});
const NAMES = ['a', 'd', 'l', 'b', 'd2'] as const;
const name = fc.constantFrom(...NAMES);
const act = fc.record({
  what: fc.constantFrom(
    ...[
      'look',
      'look',
      'look',
      'attributes',
      'read',
      'write',
      'entries',
      'readlink',
      'create',
      'mkdir',
      'unlink',
      'rmdir',
    ],
    ...['rename', 'rename', 'link', 'symlink', 'truncate', 'times', 'sync', 'space', 'release', 'replace'],
  ),
  who: fc.nat(5),
  other: fc.nat(5),
  name,
  to: name,
  size: fc.constantFrom(0, 10, 3000, 20_000),
});

class Ground {
  readonly scratch = new ScratchFolder();
  readonly core = new CoreRig();
  readonly guest: Vcpu;
  readonly dom0: Vcpu;
  cases = 0;
  constructor() {
    this.guest = this.core.guest({ pages: 1024 }).kernel();
    this.dom0 = this.core.dom0.kernel(4);
  }
  fill(): void {
    this.scratch.empty();
    writeFileSync(join(this.scratch.path, 'a'), 'a'.repeat(9000));
    mkdirSync(join(this.scratch.path, 'd'));
    writeFileSync(join(this.scratch.path, 'd', 'a'), 'in it');
    symlinkSync('d/a', join(this.scratch.path, 'l'));
  }
}
let ground: Ground | undefined;
type Lie = { readonly [K in keyof ReturnType<typeof lieOf>]: ReturnType<typeof lieOf>[K] };
const lieOf = () => ({ at: 0, forever: false, kind: '', where: 0, value: 0, piece: 0 });

/** A backend that answers as the real one does, but for its lies. */
class Backend {
  /** Of the call under way. */
  messages = 0;
  private readonly ground: Ground;
  private readonly lies: readonly Lie[];
  private readonly client: P9Client;
  private server: P9Server | undefined;
  private ring: MappedDataRing | undefined;
  private seen = 0;
  private silent = 0;
  private rest = new Uint8Array(0);
  private readonly message = new Uint8Array(1 << 16);
  private got = 0;

  constructor(ground: Ground, client: P9Client, lies: readonly Lie[]) {
    this.ground = ground;
    this.client = client;
    this.lies = lies;
  }
  connect(): void {
    this.disconnect();
    const { ref, port } = this.client.makeRing(this.ground.guest, domid(0), ORDER);
    this.ring = new MappedDataRing(this.ground.dom0, domid(this.ground.guest.domid), ref, port, () => {});
    this.server = new P9Server(this.ground.scratch.path, this.ring.reader.size);
    [this.got, this.rest, this.silent] = [0, new Uint8Array(0), 0];
    this.client.connected();
  }
  disconnect(): void {
    this.client.disconnect();
    this.server?.close();
    this.ring?.close();
    this.ring = undefined;
  }
  /** As the kernel waits: what does not come makes the device another one, and at last none. */
  waitUntil(condition: () => boolean): void {
    while (!condition()) {
      if (this.messages > MANY) this.client.end(new XenError('ENODEV', 'enough'));
      else if (this.ring === undefined) this.connect();
      else if (!this.turn() && ++this.silent > SILENT_TURNS) this.disconnect();
    }
  }
  private turn(): boolean {
    const { ring, server } = this;
    if (ring === undefined || server === undefined) return false;
    const piece = this.lies.find(({ at }) => at === this.seen)?.piece ?? 5000;
    if (this.rest.length > 0) {
      const sent = ring.writer.write(this.rest.subarray(0, piece));
      if (sent > 0) this.rest = this.rest.subarray(sent);
      return sent > 0;
    }
    const n = ring.reader.read(this.message.subarray(this.got, this.message.length));
    if (n <= 0) return false;
    this.got += n;
    const whole = this.message.slice(0, this.got);
    if (whole.length < 7 || new DataView(whole.buffer).getUint32(0, true) !== whole.length) {
      // Indices that it has changed itself.
      if (this.lies.every(({ kind }) => kind !== 'index')) throw new Error('the guest wrote half a message');
      this.disconnect();
      return true;
    }
    this.got = 0;
    this.messages++;
    const answer = server.answer(whole).slice();
    const lies = this.lies.filter(({ at, forever }) => (forever ? at <= this.seen : at === this.seen));
    this.seen++;
    this.rest = lies.reduce((bytes, one) => this.told(bytes, one, ring), answer);
    this.silent = 0;
    return true;
  }
  private told(
    answer: Uint8Array<ArrayBuffer>,
    { kind, where, value }: Lie,
    ring: MappedDataRing,
  ): Uint8Array<ArrayBuffer> {
    if (answer.length === 0) return answer;
    const view = new DataView(answer.buffer, 0, answer.length);
    const at = 4 + (where % Math.max(1, answer.length - 4));
    if (kind === 'byte') answer[at] = value;
    else if (kind === 'word' && at + 4 <= answer.length) view.setInt32(at, value, true);
    else if (kind === 'long' && at + 8 <= answer.length) view.setBigInt64(at, BigInt(value) << 33n, true);
    else if (kind === 'size') view.setInt32(0, value, true);
    else if (kind === 'silence') return answer.slice(0, 0);
    else if (kind === 'rubbish') return answer.fill(value);
    else if (kind === 'index') {
      const words = (ring.reader as unknown as { words: Int32Array }).words;
      words[pvcalls_data_intf.at[(['in_prod', 'in_cons', 'out_cons', 'out_prod'] as const)[where % 4]!] / 4] = value;
    } else if (kind === 'cut' || kind === 'grow') {
      const changed = new Uint8Array(kind === 'cut' ? Math.max(7, answer.length - where) : answer.length + where);
      changed.set(answer.subarray(0, changed.length));
      new DataView(changed.buffer).setUint32(0, changed.length, true);
      return changed;
    }
    return answer;
  }
}

export const folderAnswers = fc.property(
  fc.array(lie, { maxLength: 4 }),
  fc.array(act, { minLength: 1, maxLength: 16 }),
  (lies, acts) => {
    const here = ground ?? new Ground();
    ground = undefined; // after a failure there is a new one
    here.fill();
    const { scratch, core } = here;
    const broken: XenError[] = [];
    let backend: Backend;
    const client = new P9Client('9pfs 0', { waitUntil: condition => backend.waitUntil(condition) }, error => {
      broken.push(error);
      client.disconnect();
    });
    backend = new Backend(here, client, lies);
    const fs = new P9FileSystem(client, 'shared');
    const held: Vnode[] = [];
    const node = (which: number): Vnode => (held.length === 0 ? fs.root : held[which % held.length]!);
    const hold = (found: Vnode | undefined): void => {
      if (found) held.push(found);
    };
    const perform = ({ what, who, other, name, to, size }: (typeof acts)[number]): void => {
      const one = node(who);
      const directory = one.type === 'directory' ? one : fs.root;
      if (what === 'look') hold(directory.lookup(name));
      else if (what === 'attributes') {
        const { size, nlink, ino } = one.attributes();
        for (const number of [size, nlink, ino])
          if (!(Number.isSafeInteger(number) && number >= 0)) throw new Error(`an attribute of ${number}`);
      } else if (what === 'read') {
        const into = new Uint8Array(size);
        const got = one.read(size, into);
        if (!(got >= 0 && got <= size)) throw new Error(`${got} bytes of ${size} read`);
      } else if (what === 'write') one.write(size, new Uint8Array(size));
      else if (what === 'entries') {
        for (const { name } of one.entries())
          if (name === '' || name.includes('/') || name.includes('\0'))
            throw new Error(`a file called ${JSON.stringify(name)}`);
      } else if (what === 'readlink') one.readlink();
      else if (what === 'create') hold(directory.create(name, 'file'));
      else if (what === 'mkdir') hold(directory.create(name, 'directory'));
      else if (what === 'unlink') directory.unlink(name);
      else if (what === 'rmdir') directory.rmdir(name);
      else if (what === 'rename') directory.rename(name, node(other), to);
      else if (what === 'link') directory.link(name, node(other));
      else if (what === 'symlink') hold(directory.symlink(name, to));
      else if (what === 'truncate') one.truncate(size);
      else if (what === 'times') one.setTimes({ mtimeNs: 5n });
      else if (what === 'sync') one.sync(false);
      else if (what === 'space') {
        const { free, total } = fs.space();
        if (!(free >= 0 && total >= 0)) throw new Error(`${free} of ${total} bytes are free`);
      } else if (what === 'release') held.splice(who % Math.max(1, held.length), 1)[0]?.release();
      else backend.disconnect();
    };
    for (const act of acts) {
      backend.messages = 0;
      try {
        perform(act);
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
      }
    }
    for (const one of held) one.release();
    if (fs.inUse) throw new Error('files are in use that nobody has');
    backend.disconnect();
    client.end(new XenError('ENODEV', 'the end'));
    if (scratch.open !== 0) throw new Error('files stay open');
    if (core.dom0.domain.grants.mappings !== 0) throw new Error('grants stay mapped');
    if (core.internalErrors.length > 0) throw new Error(core.internalErrors.join('\n'));
    if (++here.cases === CASES_PER_RIG) scratch.remove();
    else ground = here;
  },
);
