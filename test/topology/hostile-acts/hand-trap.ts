// A hypercall that is put into a vCPU's page by hand: who puts it there does not wait, and may do what another thread of the
// guest would meanwhile. The page may be that of a vCPU that is not up.
import { futexWake, PAGE_SIZE, type Vcpu, vcpu_page, vcpuFrame } from '#pvbus';

const OP = vcpu_page.at.op / 4;
const ARG = vcpu_page.at.arg / 4;
const RESULT = vcpu_page.at.result / 4;
const TRAP_SEQ = vcpu_page.at.trap_seq / 4;
const REPLY_SEQ = vcpu_page.at.reply_seq / 4;

export class HandTrap {
  readonly #words: Int32Array;
  readonly #address: number;
  #seq = 0;

  constructor({ memory, layout, id }: Vcpu, page = id) {
    this.#words = memory.page(vcpuFrame(layout, page)).words;
    this.#address = memory.address + vcpuFrame(layout, page) * PAGE_SIZE;
  }
  /** Numbers below 2^32. */
  post(nr: number, ...args: readonly number[]): void {
    const words = this.#words;
    words[OP] = nr;
    for (let i = 0; i < 5; i++) {
      words[ARG + 2 * i] = (args[i] ?? 0) | 0;
      words[ARG + 2 * i + 1] = 0;
    }
    this.#seq = (Atomics.add(words, TRAP_SEQ, 1) + 1) | 0;
    futexWake(this.#address + 4 * TRAP_SEQ);
  }
  get isOver(): boolean {
    return Atomics.load(this.#words, REPLY_SEQ) === this.#seq;
  }
  /** Do it again and again until there is an answer, which is returned. */
  during(meanwhile: () => void): number {
    while (!this.isOver) meanwhile();
    return this.#words[RESULT]!;
  }
}
