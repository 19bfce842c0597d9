// 802.1D without its spanning tree: learn, forward, flood, age.
import { describe, expect, it } from 'vitest';
import { Bridge, type BridgePort } from '../../../../../dom0/backends/netback/bridge.ts';
import { Frame, SourcePage } from '../../../../../dom0/backends/netback/frame.ts';

const mac = (n: number): Uint8Array => Uint8Array.of(0, 0x16, 0x3e, 0, 0, n);
const BROADCAST = new Uint8Array(6).fill(0xff);

class Port implements BridgePort {
  readonly name: string;
  readonly got: Uint8Array[] = [];
  constructor(name: string) {
    this.name = name;
  }
  deliver(frame: Frame): boolean {
    const bytes = new Uint8Array(frame.length);
    frame.copy(0, frame.length, bytes, 0);
    this.got.push(bytes);
    return true;
  }
}

function rig(ports = 4) {
  const bridge = new Bridge('xenbr0', 1500, { random: () => 0.5 });
  const all = Array.from({ length: ports }, (_, i) => new Port(`vif${i}.0`));
  const numbers = all.map((port, i) => bridge.attach(port, mac(100 + i)));
  const frame = new Frame();
  let now = 1e9;
  const send = (from: number, destination: Uint8Array, source: Uint8Array, length = 60): number => {
    const bytes = new Uint8Array(length).map((_, i) => i);
    bytes.set(destination);
    bytes.set(source, 6);
    frame.begin(0, now);
    frame.add(new SourcePage(bytes), 0, length);
    frame.readHeader();
    return bridge.forward(frame, numbers[from]!);
  };
  const counts = (): number[] => all.map(port => port.got.splice(0).length);
  return { bridge, all, numbers, send, counts, wait: (s: number) => (now += s * 1e9) };
}

describe('a bridge', () => {
  it('floods what it does not know, to everybody but the sender', () => {
    const { send, counts } = rig();
    expect(send(1, mac(9), mac(1))).toBe(3);
    expect(counts()).toEqual([1, 0, 1, 1]);
    expect(send(2, BROADCAST, mac(2))).toBe(3);
    expect(counts()).toEqual([1, 1, 0, 1]);
  });
  it('learns where an address is and sends there alone, the bytes unchanged', () => {
    const { send, counts, all } = rig();
    send(1, mac(9), mac(1));
    counts();
    expect(send(2, mac(1), mac(2), 1514)).toBe(1);
    const frame = all[1]!.got[0]!;
    expect(frame.length).toBe(1514);
    expect(frame.subarray(14)).toEqual(new Uint8Array(1514).map((_, i) => i).subarray(14));
    expect(counts()).toEqual([0, 1, 0, 0]);
  });
  it('knows the address the toolstack gave each guest, and no other guest can take it over', () => {
    const { send, counts } = rig();
    send(3, BROADCAST, mac(100));
    counts();
    send(2, mac(100), mac(2));
    expect(counts()).toEqual([1, 0, 0, 0]);
  });
  it('follows an address that moves and forgets one that falls silent', () => {
    const { send, counts, wait } = rig();
    send(1, BROADCAST, mac(1));
    send(3, BROADCAST, mac(1));
    counts();
    send(0, mac(1), mac(2));
    expect(counts()).toEqual([0, 0, 0, 1]);
    wait(301);
    send(0, mac(1), mac(2));
    expect(counts()).toEqual([0, 1, 1, 1]);
  });
  it('sends nothing back to where it came from (hairpin)', () => {
    const { bridge, send, counts } = rig();
    send(1, BROADCAST, mac(1));
    counts();
    expect(send(1, mac(1), mac(2))).toBe(0);
    expect(counts()).toEqual([0, 0, 0, 0]);
    expect(bridge.stats.dropped.hairpin).toBe(1);
  });
  it('drops frames with a group or no address as their source, reserved ones and those longer than its MTU', () => {
    const { bridge, send, counts } = rig();
    send(0, mac(101), Uint8Array.of(1, 0, 0x5e, 0, 0, 1));
    send(0, mac(101), new Uint8Array(6));
    send(0, Uint8Array.of(0x01, 0x80, 0xc2, 0, 0, 0x0e), mac(1));
    send(0, mac(101), mac(1), 1519);
    expect(counts()).toEqual([0, 0, 0, 0]);
    expect(bridge.stats.dropped).toEqual({ badSource: 2, reserved: 1, tooBig: 1, hairpin: 0, vlan: 0 });
    send(0, Uint8Array.of(0x01, 0x80, 0xc2, 0, 0, 0x10), mac(1));
    send(0, mac(101), mac(1), 1518);
    expect(counts()).toEqual([0, 2, 1, 1]);
  });
  it('forgets all of a port that is detached, and the next port in its place starts afresh', () => {
    const { bridge, numbers, all, send, counts } = rig();
    send(1, BROADCAST, mac(1));
    bridge.detach(numbers[1]!);
    counts();
    send(0, mac(1), mac(2));
    expect(counts()).toEqual([0, 0, 1, 1]);
    const late = new Port('late');
    expect(bridge.attach(late, mac(200))).toBe(numbers[1]);
    send(0, mac(101), mac(2));
    expect([late.got.length, all[2]!.got.length]).toEqual([1, 1]);
    send(0, mac(200), mac(2));
    expect([late.got.length, all[2]!.got.length]).toEqual([2, 1]);
  });
  it('of two ports with the same address the later has it, until it goes', () => {
    const { bridge, send, counts } = rig();
    const other = new Port('other');
    const number = bridge.attach(other, mac(100));
    send(3, mac(100), mac(1));
    expect([other.got.length, ...counts()]).toEqual([1, 0, 0, 0, 0]);
    bridge.detach(number);
    send(3, mac(100), mac(1));
    expect(counts()).toEqual([1, 1, 1, 0]);
  });
});
