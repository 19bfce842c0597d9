import { basename, dirname } from 'node:path';

/** What a program's environment says for the loader to take `library` first. LD_PRELOAD itself is cut at each blank, so no path goes there. */
export const preloaded = (library: string): { readonly LD_PRELOAD: string; readonly LD_LIBRARY_PATH: string } => ({
  LD_PRELOAD: basename(library),
  LD_LIBRARY_PATH: dirname(library),
});
