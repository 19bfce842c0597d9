// The same prepared program with a memory that threads can share: what runs it and who does its calls need not be the same
// thread then. Loads and stores are those of any memory.
import { SECTION } from './module.ts';
import { Reader } from './reader.ts';
import { Writer } from './writer.ts';

const HEAD = 8;
const SHARED_WITH_MAXIMUM = 3;
/** What 32 bits can name: its kernel says how much it gets. */
const MOST_PAGES = 0x10000;

/** A prepared program whose only memory is shared, in bytes that are shared as well. */
export function withSharedMemory(prepared: Uint8Array): Uint8Array {
  const reader = new Reader(prepared, HEAD);
  for (;;) {
    const from = reader.pos;
    const id = reader.byte();
    const section = reader.slice(reader.u32());
    if (id !== SECTION.memory) continue;
    const [, , pages] = [section.u32(), section.byte(), section.u32()];
    const content = new Writer();
    content.u32(1);
    content.byte(SHARED_WITH_MAXIMUM);
    content.u32(pages);
    content.u32(MOST_PAGES);
    const memory = new Writer();
    memory.byte(SECTION.memory);
    memory.sized(content.written);
    const [head, tail] = [prepared.subarray(0, from), prepared.subarray(reader.pos)];
    const out = new Uint8Array(new SharedArrayBuffer(head.length + memory.length + tail.length));
    out.set(head);
    out.set(memory.written, head.length);
    out.set(tail, head.length + memory.length);
    return out;
  }
}
