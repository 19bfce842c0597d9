// What the hypervisor's main thread and the one that launches shells say to one another.
import type { Tools } from './launch-command.ts';
import type { FromStartingThread, ToStartingThread } from './starting-thread.ts';

export interface LauncherData {
  /** The pid that a shell is to have for a parent, when it has no namespace for pids. */
  readonly parent: number;
  /** XENOLITH_LAYER_* */
  readonly layers: number;
  /** What Linux counts as data of a Node that has just started. */
  readonly engineBytes: number;
  readonly tools: Tools | undefined;
  /** Where our built files are. */
  readonly dist: string;
}

/** `socket` is the launcher's from here on. */
export interface SpawnShell {
  readonly op: 'spawn';
  readonly id: number;
  readonly socket: number;
}
export type ToLauncher = SpawnShell | ToStartingThread;

export type OfShell =
  /** It is there. `launched` is what was started, which is its parent when it has namespaces, and else itself. */
  | { readonly op: 'spawned'; readonly id: number; readonly pid: number; readonly launched: number }
  /** Its self-test went well. */
  | { readonly op: 'fit'; readonly id: number }
  | { readonly op: 'said'; readonly id: number; readonly line: string }
  | {
      readonly op: 'exited';
      readonly id: number;
      readonly code: number | undefined;
      readonly signal: string | undefined;
      /** Why it has not come to be. */
      readonly failure?: string;
      /** What its self-test was at. */
      readonly tried?: string | undefined;
    };
export type FromLauncher = OfShell | FromStartingThread;
