// The steps of what the toolstack does, told before each of them: somebody may want to know where it is.
import type { ToolstackOpName, ToolstackStep } from '#pvbus';

export interface Steps {
  /** Throws, or rejects, when the operation is to fail here. undefined: go on at once. */
  at<O extends ToolstackOpName>(op: O, domain: string | number, step: ToolstackStep<O>): Promise<void> | undefined;
}
