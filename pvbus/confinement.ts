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

export const ALL_LAYERS = Object.keys(LAYERS) as Layer[];

export const layersOf = (bits: number): Layer[] => ALL_LAYERS.filter(layer => (bits & LAYERS[layer]) !== 0);
export const bitsOf = (layers: Iterable<Layer>): number => [...layers].reduce((bits, layer) => bits | LAYERS[layer], 0);
/** Those that are missing, as a domain that asks for all of them is told. */
export const missingLayers = (bits: number): Layer[] => ALL_LAYERS.filter(layer => (bits & LAYERS[layer]) === 0);
