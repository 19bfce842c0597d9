// The other process of the FIFO stress: a vCPU that hears what its hypervisor, another process, puts into its queues;
// or one that writes what it likes into them, for as long as the domain runs.
import { Arena, domainLayout, domid, gfn, type Machine, PAGE_SIZE, port, Vcpu } from '#pvbus';

const [mode, pages, vcpus, directory, firstPort, nrPorts, seqGfn, scribbleGfn, scribblePages] = process.argv.slice(2);
const layout = domainLayout(Number(pages), Number(vcpus));
const memory = Arena.adopt(3, layout.frames * PAGE_SIZE);
const { words } = memory;
/** Counted up by the sender before a send of port i, and what the handler saw of it last. */
const seq = (Number(seqGfn) * PAGE_SIZE) / 4;
const seen = seq + Number(nrPorts);
/** Not 0: the end. */
const stop = seen + Number(nrPorts);
/** Not 0: it has begun. */
const begun = stop + 1;

function hear(): void {
  // The hypercalls have been made already, by the process that started this one.
  const machine: Machine = { trap: () => 0, receive: () => undefined, note: () => {}, awaitGrant: () => {} };
  const vcpu = new Vcpu(machine, memory, layout, domid(1), 0);
  vcpu.events.useFifo(gfn(Number(directory)));
  for (let i = 0; i < Number(nrPorts); i++)
    vcpu.events.on(port(Number(firstPort) + i), () => {
      Atomics.store(words, seen + i, Atomics.load(words, seq + i));
    });
  Atomics.store(words, begun, 1);
  while (Atomics.load(words, stop) === 0) if (!vcpu.events.poll()) vcpu.block();
}

function scribble(): void {
  const first = (Number(scribbleGfn) * PAGE_SIZE) / 4;
  const count = (Number(scribblePages) * PAGE_SIZE) / 4;
  let state = 12345;
  Atomics.store(words, begun, 1);
  while (Atomics.load(words, stop) === 0) {
    for (let i = 0; i < 1000; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      // Mostly a bit or two of a word, LINKED above all: what is written whole is soon the same everywhere.
      const at = first + (state % count);
      if ((state & 0x700) === 0) Atomics.store(words, at, state);
      else Atomics.xor(words, at, state & 0xf0000000);
    }
  }
}

if (mode === 'hear') hear();
else scribble();
