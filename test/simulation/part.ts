/** Something that runs when it has a reason to: what would be a thread, a process or a device. */
export interface Part {
  readonly name: string;
  /** Its driver would not sleep now. */
  ready(): boolean;
  /** True when it did something. */
  step(): boolean;
  /** When it wakes although nothing happens, ns; Infinity: never. */
  deadline(): number;
}
