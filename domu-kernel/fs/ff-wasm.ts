// FatFs as the kernel's bundle carries it: the build turns the import into bytes. Only main.ts imports
// this, so that everything else runs unbundled too.
// The package's `exports` do not name the file, so it is named by its place.
import bytes from '../../node_modules/fatfs-wasm/ff.wasm';

export const ffWasm: Uint8Array = bytes;
