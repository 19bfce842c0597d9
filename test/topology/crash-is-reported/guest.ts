// Fails where its command line says, or never.
import { clock, console, system } from 'xenolith';

const { fails } = system.args;
const fail = (): never => {
  throw new RangeError(`a bug ${fails}`);
};
/** TypeScript's ES library has no WebAssembly. */
const { Instance, Module } = (
  globalThis as unknown as {
    WebAssembly: {
      Module: new (bytes: Uint8Array) => object;
      Instance: new (module: object) => { exports: { f(): void } };
    };
  }
).WebAssembly;
function trap(): void {
  // (module (func (export "f") unreachable))
  const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const sections = [1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 0x66, 0, 0, 10, 5, 1, 3, 0, 0, 0x0b];
  new Instance(new Module(new Uint8Array([...head, ...sections]))).exports.f();
}
console.log(`${system.name} begins`);
if (fails === 'at-top-level') fail();

export default async function main(): Promise<void> {
  if (fails === 'in-main') fail();
  if (fails === 'in-a-promise') void clock.sleep(10).then(fail);
  if (fails === 'in-a-timer') setTimeout(fail, 10);
  if (fails === 'in-a-watch') await system.store.watch('name', () => fail());
  const deeper = (n: number): number => deeper(n + 1) + 1;
  if (fails === 'by-recursion') deeper(0);
  if (fails === 'in-wasm') trap();
  if (fails === 'by-hoarding') for (const all: unknown[] = []; ; ) all.push(new Array(100_000).fill(1.5));
  system.onShutdown(() => console.log('goes in peace'));
  for (;;) await clock.sleep(3_600_000);
}
