// What a prepared program and the kernel that runs it agree on. A prepared program is a WASI command whose functions can
// leave ("unwind") at any call that may wait and at any loop head, and be entered again ("rewind") at the same place,
// with everything they need kept in their own memory in between.
//
// Globals of the module, exported, mutable i32 (`globalThis.WebAssembly.Global`):
//
//   xenolith_state  RUNS, UNWINDS or REWINDS
//   xenolith_fuel   loop heads (and turns of recursion) until the program gives the vCPU up by itself
//   xenolith_sp     where the next saved frame goes
//   xenolith_end    where no saved frame may reach
//   xenolith_pages  what memory.size says: the pages of the program, without those of the save area
//
// The save area is the top of the memory, [xenolith_pages * 64 KiB, xenolith_end). It is empty while the program
// runs: xenolith_sp === xenolith_pages * 64 KiB. A new instance has `savePages` of it.
//
// Suspending. Any imported function but xenolith's own two may set xenolith_state to UNWINDS and return anything; all
// functions then leave, and `_start` returns. Fuel that has run out (xenolith_fuel <= 0) does the same without a
// call: `_start` returns with xenolith_state UNWINDS though no import asked for it. The kernel then sets
// xenolith_state back to RUNS or leaves it; nothing of the module runs until it is resumed.
//
// Resuming. The kernel sets xenolith_state = REWINDS and xenolith_fuel = REWINDING_FUEL | n (n: the fuel of the slice
// that begins, 1 to 0x7fffffff) and calls `_start` again. Where an import had asked: it is called AGAIN with the same
// arguments while xenolith_state is REWINDS; its wrapper sets xenolith_state = RUNS and xenolith_fuel = n before
// anything else, and tries once more (it may suspend again). Where fuel had run out: the module itself sets
// xenolith_state = RUNS and takes REWINDING_FUEL off xenolith_fuel.
//
// Imports that are added, both of module `xenolith`; neither may suspend:
//
//   grow(pages) -> i32   in place of memory.grow: the old xenolith_pages, or -1. The kernel grows the memory, fills what
//                        was the save area with zeroes, and moves xenolith_pages, xenolith_sp and xenolith_end up
//   room(bytes)          a frame of so many bytes does not fit below xenolith_end while UNWINDS: the kernel grows the
//                        memory and moves xenolith_end up (xenolith_sp stays), or throws
//
// Mutable globals of the program are exported as xenolith_global_<index>: with them and the memory, a suspended program
// goes on in another instance of the same module, if it is `movable`: no code of it changes a table (as none compiled
// from C does), and those globals are numbers.
//
// The memory is exported as `memory` and its declared maximum leaves room for a save area; the program's own maximum
// is in the custom section, and is the kernel's to keep.
import { Reader } from './reader.ts';

export const RUNS = 0;
export const UNWINDS = 1;
export const REWINDS = 2;
/** Set in xenolith_fuel while rewinding, so that every loop head on the way looks at xenolith_state. */
export const REWINDING_FUEL = -0x80000000;

/** Raised whenever what is said above changes, or what was made was wrong: what was prepared before is prepared anew. */
export const PREPARED_VERSION = 3;
export const PREPARED_SECTION = 'xenolith.prepared';
export const PREPARED_MODULE = 'xenolith';
export const PAGE_BYTES = 0x10000;
/** Pages of the save area that a new instance has. */
export const SAVE_PAGES = 1;

export const PREPARED_GLOBALS = [
  'xenolith_state',
  'xenolith_fuel',
  'xenolith_sp',
  'xenolith_end',
  'xenolith_pages',
] as const;

/** Before the index of a mutable global of the program. */
export const PREPARED_GLOBAL = 'xenolith_global_';

/** What the custom section says: version byte, then three LEB128 numbers and a byte. */
export interface PreparedLayout {
  readonly version: number;
  /** Pages the program starts with, and how many it may ask for. */
  readonly minPages: number;
  readonly maxPages: number;
  readonly savePages: number;
  readonly movable: boolean;
}

/** The layout of a prepared program; undefined for any other bytes, also for what another version prepared. */
export function preparedLayout(bytes: Uint8Array): PreparedLayout | undefined {
  try {
    const reader = new Reader(bytes);
    if (reader.u32le() !== 0x6d736100 || reader.u32le() !== 1 || reader.byte() !== 0) return undefined;
    // The custom section is the first one, so that nobody reads 26 MB to learn whether it is there.
    const section = reader.slice(reader.u32());
    if (section.name() !== PREPARED_SECTION) return undefined;
    const version = section.byte();
    if (version !== PREPARED_VERSION) return undefined;
    const [minPages, maxPages, savePages] = [section.u32(), section.u32(), section.u32()];
    const movable = section.byte() === 1;
    return section.done ? { version, minPages, maxPages, savePages, movable } : undefined;
  } catch {
    return undefined;
  }
}
