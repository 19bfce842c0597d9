// VLANs of a bridge, by tables: who gets which frame, and with which tag. Xen: the notation of vif-openvswitch.
import { describe, expect, it } from 'vitest';
import { Bridge, type BridgePort } from '../../../../../dom0/backends/netback/bridge.ts';
import { Frame, SourcePage } from '../../../../../dom0/backends/netback/frame.ts';
import { parseBridge } from '../../../../../dom0/backends/netback/vlans.ts';

const mac = (n: number): number[] => [0, 0x16, 0x3e, 0, 0, n];
const ALL = [255, 255, 255, 255, 255, 255];

class Port implements BridgePort {
  readonly name: string;
  got: string[] = [];
  constructor(name: string) {
    this.name = name;
  }
  deliver(frame: Frame): boolean {
    const bytes = Buffer.alloc(frame.length);
    frame.copy(0, frame.length, bytes, 0);
    this.got.push(describeFrame(bytes));
    return true;
  }
}
/** `10/20:hello`: the tags, outermost first, and what is in the frame. */
function describeFrame(bytes: Buffer): string {
  const tags: number[] = [];
  let at = 12;
  for (; bytes.readUInt16BE(at) === 0x8100 && bytes.length >= at + 6; at += 4)
    tags.push(bytes.readUInt16BE(at + 2) & 4095);
  expect(bytes.subarray(at, at + 2).toString('hex')).toBe('88b5');
  return `${tags.join('/')}:${bytes
    .subarray(at + 2)
    .toString()
    .replace(/\0+$/, '')}`;
}
function frameBytes(to: number[], from: number[], tags: readonly number[], text: string): Uint8Array {
  const head = [...to, ...from, ...tags.flatMap(tag => [0x81, 0, tag >> 8, tag & 255]), 0x88, 0xb5];
  return Uint8Array.from([...head, ...Buffer.from(text.padEnd(46, '\0'))]);
}

/** Ports with these bridges, the i-th with the address `i`. Frames come in pieces of `piece` bytes. */
function rig(specs: readonly string[], piece = 1500) {
  const bridge = new Bridge('br0', 1500, { random: () => 0.5 });
  const ports = specs.map(spec => new Port(spec));
  const numbers = ports.map((port, i) => {
    const { name, vlans } = parseBridge(port.name);
    expect(name).toBe('br0');
    return bridge.attach(port, Uint8Array.from(mac(i)), vlans);
  });
  const frame = new Frame();
  /** What each port gets. */
  const send = (from: number, to: number[], tags: readonly number[], source = mac(from)): Record<string, string[]> => {
    const bytes = frameBytes(to, source, tags, 'hello');
    frame.begin(0, 1e9);
    for (let at = 0; at < bytes.length; at += piece) {
      frame.add(new SourcePage(bytes), at, Math.min(piece, bytes.length - at));
    }
    frame.readHeader();
    bridge.forward(frame, numbers[from]!);
    return Object.fromEntries(
      ports.flatMap((port, i) => (port.got.length > 0 ? [[`${i} ${port.name}`, port.got.splice(0)]] : [])),
    );
  };
  return { bridge, send, numbers };
}

const SPECS = ['br0', 'br0.10', 'br0.10', 'br0.20', 'br0:10:20', 'br0.10:20:30'] as const;
const [PLAIN, TEN, , TWENTY, TRUNK, NATIVE] = [0, 1, 2, 3, 4, 5];

describe.each([1500, 20, 13, 7])('frames in pieces of %i bytes, for everybody', piece => {
  it.each<[string, number, number[], Record<string, string[]>]>([
    [
      'an access port, untagged',
      TEN!,
      [],
      { '0 br0': ['10:hello'], '2 br0.10': [':hello'], '4 br0:10:20': ['10:hello'], '5 br0.10:20:30': [':hello'] },
    ],
    ['an access port, with its own tag', TEN!, [10], {}],
    ['an access port, with the tag of another', TEN!, [20], {}],
    ['an access port, with two tags', TEN!, [10, 20], {}],
    [
      'an access port, with a tag of a priority only',
      TEN!,
      [0x6000],
      { '0 br0': ['10:hello'], '2 br0.10': [':hello'], '4 br0:10:20': ['10:hello'], '5 br0.10:20:30': [':hello'] },
    ],
    ['an access port, with such a tag and another behind it', TEN!, [0x6000, 20], {}],
    [
      'another access port',
      TWENTY!,
      [],
      { '0 br0': ['20:hello'], '4 br0:10:20': ['20:hello'], '5 br0.10:20:30': ['20:hello'] },
    ],
    ['a trunk, untagged', TRUNK!, [], {}],
    [
      'a trunk, in a VLAN of its own',
      TRUNK!,
      [10],
      { '0 br0': ['10:hello'], '1 br0.10': [':hello'], '2 br0.10': [':hello'], '5 br0.10:20:30': [':hello'] },
    ],
    ['a trunk, in a VLAN that is not its own', TRUNK!, [30], {}],
    ['a trunk, with a second tag: not where the first is taken away', TRUNK!, [10, 20], { '0 br0': ['10/20:hello'] }],
    [
      'a trunk with an untagged VLAN, untagged',
      NATIVE!,
      [],
      { '0 br0': ['10:hello'], '1 br0.10': [':hello'], '2 br0.10': [':hello'], '4 br0:10:20': ['10:hello'] },
    ],
    ['a trunk with an untagged VLAN, that with a tag', NATIVE!, [10], {}],
    ['a trunk with an untagged VLAN, in another', NATIVE!, [30], { '0 br0': ['30:hello'] }],
    ['a plain port, untagged: VLAN 0, which nobody else is in', PLAIN!, [], {}],
    [
      'a plain port, tagged',
      PLAIN!,
      [20],
      { '3 br0.20': [':hello'], '4 br0:10:20': ['20:hello'], '5 br0.10:20:30': ['20:hello'] },
    ],
    ['a plain port, in the last VLAN', PLAIN!, [4094], {}],
  ])('%s', (_, from, tags, expected) => {
    expect(rig(SPECS, piece).send(from, ALL, tags)).toEqual(expected);
  });
});

describe('addresses', () => {
  it('are known in a VLAN, not in another: who is in both is found in each', () => {
    const { send } = rig(SPECS);
    expect(send(1, mac(2), [])).toEqual({ '2 br0.10': [':hello'] });
    expect(send(1, mac(4), [])).toEqual({ '4 br0:10:20': ['10:hello'] });
    expect(send(3, mac(4), [])).toEqual({ '4 br0:10:20': ['20:hello'] });
    expect(send(4, mac(3), [20])).toEqual({ '3 br0.20': [':hello'] });
    // 3 is in VLAN 20: in 10 nobody knows it, and 3 does not hear the question.
    expect(Object.keys(send(1, mac(3), []))).toEqual(['0 br0', '2 br0.10', '4 br0:10:20', '5 br0.10:20:30']);
  });
  it('that are learnt in one VLAN are not those of another', () => {
    const { send } = rig(['br0.10', 'br0.20', 'br0:10:20', 'br0:10:20']);
    send(2, ALL, [10], mac(99));
    send(3, ALL, [20], mac(99));
    expect(send(0, mac(99), [])).toEqual({ '2 br0:10:20': ['10:hello'] });
    expect(send(1, mac(99), [])).toEqual({ '3 br0:10:20': ['20:hello'] });
  });
  it('of a guest cannot be taken over in its VLAN, by a tag neither', () => {
    const { send } = rig(['br0.10', 'br0.10', 'br0:10', 'br0.10']);
    send(1, ALL, [], mac(0));
    send(2, ALL, [10], mac(0));
    expect(send(3, mac(0), [])).toEqual({ '0 br0.10': [':hello'] });
  });
});

it('a frame too short for the tag it announces goes nowhere', () => {
  const bridge = new Bridge('br0', 1500, { random: () => 0.5 });
  const ports = [new Port('a'), new Port('b')];
  const [first] = ports.map(port => bridge.attach(port, undefined, parseBridge('br0.10').vlans));
  for (const length of [14, 15, 17]) {
    const frame = new Frame();
    const bytes = Uint8Array.from([...ALL, ...mac(1), 0x81, 0, 0, 10, 8]).subarray(0, length);
    frame.begin(0, 0);
    frame.add(new SourcePage(bytes), 0, length);
    frame.readHeader();
    expect(bridge.forward(frame, first!)).toBe(0);
  }
  expect(bridge.stats.dropped.vlan).toBe(3);
});

it('a bridge none of whose ports has a VLAN carries tags as they are, and does so again when the last one has left', () => {
  const { bridge, send, numbers } = rig(['br0', 'br0', 'br0.10']);
  expect(send(0, mac(1), [7, 8])).toEqual({ '1 br0': ['7/8:hello'] });
  bridge.detach(numbers[2]!);
  expect(send(0, mac(1), [0, 8])).toEqual({ '1 br0': ['0/8:hello'] });
});

describe('the notation', () => {
  it.each<[string, string, string]>([
    ['xenbr0', 'xenbr0', 'all'],
    ['br.a', 'br.a', 'all'],
    ['br0.10', 'br0', '10'],
    ['br0.10:20:30', 'br0', '10 20 30'],
    ['br0:20', 'br0', '-1 20'],
    ['lan.1.4094', 'lan.1', '4094'],
    ['', '', 'all'],
  ])('%s', (text, name, vlans) => {
    const parsed = parseBridge(text);
    const { untagged, own } = parsed.vlans ?? {};
    const shown = parsed.vlans === undefined ? 'all' : untagged === -1 ? `-1 ${own!.join(' ')}` : own!.join(' ');
    expect([parsed.name, shown]).toEqual([name, vlans]);
  });
  it.each([
    ['br0.0', 'there is no VLAN 0, only 1 to 4094'],
    ['br0.4095', 'there is no VLAN 4095'],
    ['br0:1:99999', 'there is no VLAN 99999'],
    ['br0.10:20:10', 'VLAN 10 is with tags or without, not both'],
    [`br0:${Array.from({ length: 65 }, (_, i) => i + 1).join(':')}`, '65 VLANs, at most 64'],
  ])('%s is refused', (text, why) => expect(() => parseBridge(text)).toThrow(why));
});
