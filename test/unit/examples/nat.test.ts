import { describe, expect, it } from 'vitest';
import type { Connection, InterceptedConnection } from 'xenolith';
import { readQuestion, serverFailure, shorten } from '../../../examples/gateway/dns-message.ts';
import { CONNECTIONS, CONNECTIONS_OF_ONE, type Endpoint, NatTable } from '../../../examples/gateway/nat.ts';
import { connectionPair, type PairEnd } from '../../support/connection-pair.ts';

/** A guest's SYN, and what became of it. */
function asked(from: string, to: Endpoint = { address: '198.51.100.7', port: 80 }) {
  const [guest, inside] = connectionPair();
  const call = { guest, inside, decided: 'nothing' };
  const syn: InterceptedConnection = {
    from: { address: from, port: 40_000 },
    to,
    async accept() {
      call.decided = 'accepted';
      return inside;
    },
    refuse(code = 'ECONNREFUSED') {
      call.decided = code;
    },
  };
  return { ...call, syn, fate: () => call.decided };
}
function nat(connect: (address: string, port: number) => Promise<Connection>) {
  const lines: string[] = [];
  const table = new NatTable({
    connect,
    translate: to => ({ ...to, port: to.port + 1 }),
    log: line => lines.push(line),
  });
  return { table, lines };
}
const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
const text = async (end: PairEnd): Promise<string> => {
  let all = '';
  for await (const bytes of end) all += new TextDecoder().decode(bytes);
  return all;
};

describe('a connection through the gateway', () => {
  it('carries bytes both ways, and each end by itself', async () => {
    const [outside, server] = connectionPair();
    const reached: string[] = [];
    const { table } = nat(async (address, port) => {
      reached.push(`${address}:${port}`);
      return outside;
    });
    const { syn, guest } = asked('10.77.0.2');
    const done = table.relay(syn);
    await guest.write('question');
    await guest.end();
    expect(await text(server)).toBe('question');
    expect(table.open).toBe(1);
    await server.write('answer');
    await server.end();
    expect(await text(guest)).toBe('answer');
    await done;
    expect([reached, table.open]).toEqual([['198.51.100.7:81'], 0]);
  });
  it.each([
    ['EACCES', 'EACCES'],
    ['ECONNREFUSED', 'ECONNREFUSED'],
    ['ENETUNREACH', 'ENETUNREACH'],
    ['ECONNRESET', 'ECONNREFUSED'],
    ['EHOSTUNREACH', 'EHOSTUNREACH'],
    ['ETIMEDOUT', 'EHOSTUNREACH'],
    ['EMFILE', 'EHOSTUNREACH'],
  ])('that the host answers with %s is refused with %s', async (code, told) => {
    const { table, lines } = nat(failing(code));
    for (let i = 0; i < 3; i++) {
      const one = asked('10.77.0.2');
      await table.relay(one.syn);
      expect(one.fate()).toBe(told);
    }
    expect(lines).toHaveLength(code === 'EACCES' ? 1 : 0); // once for each thing
    expect(table.open).toBe(0);
  });
  it('is closed at the host when the guest has given up', async () => {
    const [outside] = connectionPair();
    const { table } = nat(async () => outside);
    const { syn } = asked('10.77.0.2');
    await table.relay({ ...syn, accept: () => Promise.reject(new Error('given up')) });
    expect([outside.closed, table.open]).toEqual([true, 0]);
  });
  it('that fails on one side is reset on both', async () => {
    const [outside] = connectionPair();
    const resets: string[] = [];
    const failingRead = (name: string, end: PairEnd): Connection =>
      Object.assign(end, {
        reset(): Promise<void> {
          resets.push(name);
          return end.close();
        },
      });
    const { table } = nat(async () => failingRead('outside', outside));
    const { syn, inside, guest } = asked('10.77.0.2');
    Object.assign(inside, { read: () => Promise.reject(new Error('reset')) });
    failingRead('inside', inside);
    await guest.write('x');
    await table.relay(syn);
    expect(resets.toSorted()).toEqual(['inside', 'outside']);
  });
  it('is one of so many, of one guest and of all', async () => {
    const { table, lines } = nat(() => new Promise(() => {}));
    const fates = (from: string, n: number): string[] =>
      Array.from({ length: n }, () => {
        const one = asked(from);
        void table.relay(one.syn);
        return one.fate();
      });
    expect(new Set(fates('10.77.0.2', CONNECTIONS_OF_ONE))).toEqual(new Set(['nothing']));
    expect(fates('10.77.0.2', 2)).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
    for (let i = 3; table.open < CONNECTIONS; i++) fates(`10.77.0.${i}`, Math.min(50, CONNECTIONS - table.open));
    expect(fates('10.77.0.99', 1)).toEqual(['ECONNREFUSED']);
    expect(lines.length).toBe(2);
  });
});

describe('a question for a name', () => {
  const question = (name: string, ...more: number[]): Uint8Array => {
    const labels = name.split('.').flatMap(label => [label.length, ...Buffer.from(label)]);
    return Uint8Array.from([
      7,
      7,
      1,
      0,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      more.length > 0 ? 1 : 0,
      ...labels,
      0,
      0,
      1,
      0,
      1,
      ...more,
    ]);
  };
  const edns = (size: number): number[] => [0, 0, 41, size >> 8, size & 255, 0, 0, 0, 0, 0, 0];

  it('has room for 512 bytes, or for what it says, up to a frame', () => {
    expect(readQuestion(question('www.example'))).toEqual({ end: 29, room: 512 });
    expect(readQuestion(question('www.example', ...edns(1000)))?.room).toBe(1000);
    expect(readQuestion(question('www.example', ...edns(100)))?.room).toBe(512);
    expect(readQuestion(question('www.example', ...edns(65_535)))?.room).toBe(1232);
  });
  it('is none when it is an answer, too short, or a name that goes on for ever', () => {
    const answer = question('www.example');
    answer[2] = 0x81;
    const two = question('www.example');
    two[5] = 2;
    const pointer = question('www.example');
    pointer[12] = 0xc0;
    const long = question(Array(70).fill('abc').join('.'));
    for (const bytes of [answer, two, pointer, long, question('www.example').subarray(0, 27), new Uint8Array(11)]) {
      expect(readQuestion(bytes)).toBeUndefined();
    }
  });
  it('gets an answer that fits, or hears that there is more, or that there is none', () => {
    const bytes = question('www.example', ...edns(600));
    const asked = readQuestion(bytes)!;
    const answer = new Uint8Array(601);
    answer.set(bytes);
    answer.set([0x81, 0x80], 2);
    expect(shorten(answer.subarray(0, 600), asked)).toHaveLength(600);
    const short = shorten(answer, asked);
    expect([...short.subarray(0, 12)]).toEqual([7, 7, 0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    expect([...serverFailure(bytes, asked).subarray(0, 12)]).toEqual([7, 7, 0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, 0]);
    expect(short).toEqual(Uint8Array.from([...short.subarray(0, 12), ...bytes.subarray(12, 29)]));
  });
});
