// What the calls of programs need of the kernel.
import type { Clock } from '#pvbus';
import type { MountTable } from '../fs/mount-table.ts';
import type { Process } from '../process/process.ts';
import type { Wait } from '../process/wait.ts';
import type { SocketStack } from './socket.ts';

export interface WasiKernel {
  readonly clock: Clock;
  readonly mounts: MountTable;
  /** Fills it from the kernel's random source; at most 65,536 bytes at a time. */
  random(into: Uint8Array): void;
  /** None: xenolith_sock's `socket` says EAFNOSUPPORT. */
  readonly sockets?: SocketStack | undefined;
}

/** A number of errno.ts, or what to wait for before the call is made again. */
export type Outcome = number | Wait;
/** The arguments are WebAssembly's: an i32 is a number of either sign, an i64 a bigint of either sign. */
export type WasiCall = (process: Process, ...args: never[]) => Outcome;
export type WasiCalls = Readonly<Record<string, WasiCall>>;
