// Does this Node do with the system calls that the filter leaves it? What a guest will need is tried here, in a shell that
// waits: a call that is missing ends the shell, which the host's log says, and not a domain later.
import { deserialize, serialize } from 'node:v8';
import { futexWake, mapPrivate, viewOf } from '#pvbus';

/** TypeScript's ES library has no WebAssembly; this is what is tried of it. */
const wasm = (
  globalThis as unknown as {
    WebAssembly: {
      Module: new (bytes: Uint8Array) => object;
      Instance: new (module: object) => { readonly exports: { readonly f: (n: number) => number } };
      Memory: new (size: { initial: number; maximum: number }) => { grow(pages: number): number };
      compile(bytes: Uint8Array): Promise<object>;
    };
  }
).WebAssembly;

/** (module (memory 1 4) (func (export "f") (param i32) (result i32) local.get 0 i32.const 3 i32.mul)) */
const MODULE = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x06, 0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f, 0x03, 0x02],
  ...[0x01, 0x00, 0x05, 0x04, 0x01, 0x01, 0x01, 0x04, 0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00, 0x0a, 0x09, 0x01],
  ...[0x07, 0x00, 0x20, 0x00, 0x41, 0x03, 0x6c, 0x0b],
);
/** Enough for V8 to optimise, on its helper thread. */
const HOT = 60_000;
/** Few: malloc keeps what was freed, in domains that are given a shell before it has collected. */
const GARBAGE = 32;

/** Rejects when something gives another result than without a filter; `tries` hears of each thing before it is done. */
export async function selfTest(collectGarbage: (() => void) | undefined, tries: (what: string) => void): Promise<void> {
  tries('compiling JavaScript');
  const fresh = new Function('n', 'let a = 0; for (let i = 0; i < n; i++) a = (a * 31 + i) | 0; return a;');
  for (let i = 0; i < 50; i++) fresh(HOT / 50);
  tries('WebAssembly');
  const instance = new wasm.Instance(new wasm.Module(MODULE));
  expect('WebAssembly', instance.exports.f(14), 42);
  expect('WebAssembly.compile', (await wasm.compile(MODULE)) instanceof wasm.Module, true);
  new wasm.Memory({ initial: 1, maximum: 8 }).grow(2);
  tries('collecting garbage');
  const kept: Uint8Array[] = [];
  for (let i = 0; i < GARBAGE; i++) kept[i % 8] = new Uint8Array(65_536).fill(i);
  collectGarbage?.();
  tries('mapping memory');
  expect('a view', new Uint8Array(viewOf(mapPrivate(4096), 4096))[4095], 0);
  tries('text and time');
  expect('text', new TextDecoder().decode(new TextEncoder().encode('gär')), 'gär');
  expect('a regular expression', /(?<=a+)b{2}[^\s]/u.test('aabbc'), true);
  expect('serialization', (deserialize(serialize({ n: [1n] })) as { n: bigint[] }).n[0], 1n);
  expect('a time zone', Number.isNaN(new Date(2026, 0).getTimezoneOffset()), false);
  tries('random numbers');
  crypto.getRandomValues(new Uint8Array(16));
  tries('futexes');
  expect('a futex', futexWake(mapPrivate(4096)), 0);
  expect('Atomics.wait', Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1), 'timed-out');
  tries('timers');
  await new Promise(resolve => setTimeout(resolve, 1));
  await new Promise(resolve => setImmediate(resolve));
}

function expect(what: string, got: unknown, wanted: unknown): void {
  if (got !== wanted) throw new Error(`under its filter this Node gives ${String(got)} for ${what}`);
}
