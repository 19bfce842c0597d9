// Bytes of other processes: frames of tools, traces of vCPUs and pCPUs.

import { checkReply, checkRequest, encodeFrame, FrameDecoder, requestId, XenError } from '#pvbus';
import { cpuRecords, vcpuRecords } from '../../../tools/trace/records.ts';
import fc from '../../support/properties.ts';

const message = fc.oneof(
  fc.record({ id: fc.anything(), op: fc.constantFrom('list', 'create', 'destroy', '__proto__'), args: fc.jsonValue() }),
  fc.jsonValue({ maxDepth: 6 }),
);
/** Messages one after the other, some bytes changed, cut anywhere. */
const stream = fc.record({
  messages: fc.array(message, { maxLength: 3 }),
  changes: fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }),
  rubbish: fc.uint8Array({ maxLength: 40 }),
  cuts: fc.array(fc.nat(200), { maxLength: 4 }),
});

export const frames = fc.property(stream, ({ messages, changes, rubbish, cuts }) => {
  const whole = messages.flatMap(one => {
    try {
      return [Buffer.from(encodeFrame(one))];
    } catch {
      return []; // fc draws what MessagePack has no form for
    }
  });
  const bytes = Buffer.concat([...whole, rubbish]);
  for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
  const decoder = new FrameDecoder();
  const got: unknown[] = [];
  try {
    let from = 0;
    for (const to of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
      got.push(...decoder.push(bytes.subarray(from, Math.max(from, to))));
      from = Math.max(from, to);
    }
  } catch (error) {
    if (!(error instanceof XenError) || !/^(EPROTO|EMSGSIZE)$/.test(error.code)) throw error;
  }
  for (const one of got)
    for (const check of [checkRequest, checkReply, requestId])
      try {
        check(one);
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
      }
});

const words = fc.array(
  fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0x1f003, 0x8001f003, 0xf0000000, 0xffffffff, 0x0ffff001, 0)),
  { maxLength: 64 },
);
export const traces = fc.property(words, fc.nat(3), (list, cut) => {
  const bytes = new Uint8Array(Uint32Array.from(list).buffer).subarray(0, Math.max(0, 4 * list.length - cut));
  const { records, bad } = vcpuRecords({ domid: 1, vcpu: 0 }, bytes, 0, 2 ** 53);
  if (records.some(({ extra }) => extra.length > 7) || records.length + bad > bytes.length / 4)
    throw new Error('more records than there are bytes for');
  try {
    cpuRecords(0, bytes);
  } catch (error) {
    if (!/ends inside a record/.test((error as Error).message) && !(error instanceof RangeError)) throw error;
  }
});
