// Which layers this machine has for the processes of domains. Looked at once, when the host starts: every domain gets
// all of them, or does not run.
import { readFileSync } from 'node:fs';
import {
  ALL_LAYERS,
  bitsOf,
  type Layer,
  landlockVersion,
  SystemCallError,
  setNoNewPrivileges,
  whyNoSeccomp,
} from '#pvbus';
import { probeNamespaces, type Tools } from './launch-command.ts';

export interface Layers {
  /** XENOLITH_LAYER_* */
  readonly bits: number;
  /** Of each layer that is not there, why. */
  readonly missing: ReadonlyMap<Layer, string>;
  /** What Linux counts as data of a Node that has just started: with Node 24 half a GiB, most of it never touched. */
  readonly engineBytes: number;
  /** Where there are namespaces. */
  readonly tools: Tools | undefined;
}

/** This process and all that it starts from here on have no_new_privs, where that can be had. */
export function takeLayers(): Layers {
  const missing = new Map<Layer, string>();
  const note = (layer: Layer, why: string | undefined): void => {
    if (why !== undefined) missing.set(layer, why);
  };
  note('no_new_privs', failureOf(setNoNewPrivileges));
  const unprivileged = !missing.has('no_new_privs');
  const version = landlockVersion();
  note('landlock', typeof version === 'string' ? version : unprivileged ? undefined : 'it needs no_new_privs');
  note('seccomp', whyNoSeccomp() ?? (unprivileged ? undefined : 'it needs no_new_privs'));
  const tools = probeNamespaces();
  note('namespaces', typeof tools === 'string' ? tools : undefined);
  const bits = bitsOf(ALL_LAYERS.filter(layer => !missing.has(layer)));
  return { bits, missing, engineBytes: dataBytes(), tools: typeof tools === 'string' ? undefined : tools };
}

function dataBytes(): number {
  return 1024 * Number(/^VmData:\s+([0-9]+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? 0);
}
function failureOf(take: () => void): string | undefined {
  try {
    take();
    return undefined;
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    return error.message;
  }
}
