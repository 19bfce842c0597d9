// The layers between a domain's process and the machine. A host has the same ones for each of its domains.
import {
  XENOLITH_LAYER_landlock,
  XENOLITH_LAYER_limits,
  XENOLITH_LAYER_namespaces,
  XENOLITH_LAYER_no_new_privs,
  XENOLITH_LAYER_seccomp,
} from './abi/xenolith.ts';

export const LAYERS = {
  no_new_privs: XENOLITH_LAYER_no_new_privs,
  limits: XENOLITH_LAYER_limits,
  landlock: XENOLITH_LAYER_landlock,
  namespaces: XENOLITH_LAYER_namespaces,
  seccomp: XENOLITH_LAYER_seccomp,
} as const;
export type Layer = keyof typeof LAYERS;

const MIB = 2 ** 20;
/** Code, heap and stacks of a kernel and of programs in JavaScript: kernels were seen to need a third of it. */
const KERNEL_BYTES = 128 * MIB;
/** Of each further vCPU: a V8 of its own, with so much room for code, and what it has on its heap. */
const VCPU_BYTES = 128 * MIB;
export const VCPU_CODE_MIB = 64;
/**
 * What a domU's process may have beyond the domain's memory, by the layer `limits`. `engineBytes`: what V8 begins with, as
 * Linux counts data.
 */
export const bytesBeyondMemory = (engineBytes: number, maxVcpus: number): number =>
  engineBytes + KERNEL_BYTES + VCPU_BYTES * (maxVcpus - 1);

export const ALL_LAYERS = Object.keys(LAYERS) as Layer[];

export const layersOf = (bits: number): Layer[] => ALL_LAYERS.filter(layer => (bits & LAYERS[layer]) !== 0);
export const bitsOf = (layers: Iterable<Layer>): number => [...layers].reduce((bits, layer) => bits | LAYERS[layer], 0);
/** Those that are missing, as a domain that asks for all of them is told. */
export const missingLayers = (bits: number): Layer[] => ALL_LAYERS.filter(layer => (bits & LAYERS[layer]) === 0);
