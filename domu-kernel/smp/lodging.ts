// What vCPU 0 and another one say of a process that the other one runs. The process is vCPU 0's: its number, descriptors,
// memory's price and end. The other vCPU has the instance of its program, its lodger.
import type { PreparedLayout } from '#pvbus';
import type { ExitStatus } from '../process/process.ts';
import type { Suspended } from '../process/suspended.ts';
import type { WasmMemory } from '../process/web-assembly.ts';

/** Never used twice: a message may still be on its way when its process has ended. */
export type LodgerKey = number;

export type ToLodgers =
  /** Lodging is in the mail. */
  | { readonly op: 'lodge' }
  /** Of its call. */
  | { readonly op: 'answer'; readonly key: LodgerKey; readonly value: number }
  | { readonly op: 'pause'; readonly key: LodgerKey; readonly on: boolean }
  /** It is to come back: `left` says that it does, unless it ends before. */
  | { readonly op: 'leave'; readonly key: LodgerKey }
  /** Its process has ended. */
  | { readonly op: 'drop'; readonly key: LodgerKey }
  /** How many pages there are for who wanted some; at least those, or none. */
  | { readonly op: 'pages'; readonly pages: number };

export type FromLodgers =
  /** Its memory is in the mail. */
  | { readonly op: 'lodged'; readonly key: LodgerKey }
  | {
      readonly op: 'call';
      readonly key: LodgerKey;
      /** Counts the calls of this lodger. */
      readonly seq: number;
      readonly from: string;
      readonly name: string;
      readonly args: readonly (number | bigint)[];
    }
  | { readonly op: 'wants'; readonly key: LodgerKey; readonly pages: number }
  /** What it is is in the mail: Suspended. `inCall`: of a call that it has had no answer to. */
  | { readonly op: 'left'; readonly key: LodgerKey; readonly inCall: number | undefined }
  | {
      readonly op: 'ended';
      readonly key: LodgerKey;
      readonly status: ExitStatus;
      /** Where it was trapped: for its user, and for the log. */
      readonly why: string | undefined;
      readonly stack: string | undefined;
    };

/** In the mail. */
export interface Lodging {
  readonly key: LodgerKey;
  readonly program: SharedProgram;
  readonly from: Suspended;
  /** Of the process until now. */
  readonly cpuNs: number;
  /** Of a Told. */
  readonly told: Float64Array;
}
/** A program whose memory threads can share, in bytes that they share. */
export interface SharedProgram {
  /** Which it is, for who has it compiled already. */
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly layout: PreparedLayout;
}
export interface LodgedMail {
  readonly memory: WasmMemory;
}

/** What its vCPU tells of a lodger without a message: two words that vCPU 0 reads. */
export class Told {
  readonly words: Float64Array;
  constructor(words: Float64Array = new Float64Array(new SharedArrayBuffer(16))) {
    this.words = words;
  }
  /** ns that it has run there. */
  get cpuNs(): number {
    return this.words[0]!;
  }
  set cpuNs(ns: number) {
    this.words[0] = ns;
  }
  /** Bytes of its memory that are the program's. */
  get limit(): number {
    return this.words[1]!;
  }
  set limit(bytes: number) {
    this.words[1] = bytes;
  }
}
