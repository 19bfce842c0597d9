// A program that is suspended and of no instance: what there is to it, so that another instance of its module, on whatever
// vCPU, goes on with it.

export interface Suspended {
  /** Its memory up to the end of what it has saved. */
  readonly memory: ArrayBuffer;
  /** By the names under which the module exports them. */
  readonly globals: Readonly<Record<string, number | bigint>>;
  /** Loop heads that took about as long as its kernel wants to wait, lately. */
  readonly fuelled: number;
}
