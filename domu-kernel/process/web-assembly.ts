// TypeScript's ES library has no WebAssembly; this is what we use of it.

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  /** How many pages there were; throws a RangeError beyond the maximum. */
  grow(pages: number): number;
}
export interface WasmGlobal {
  value: number;
}
/** Compiled, and of no process yet. */
export type WasmModule = object;
export type WasmFunction = (...args: never[]) => unknown;
export interface WasmImport {
  readonly module: string;
  readonly name: string;
  readonly kind: 'function' | 'table' | 'memory' | 'global';
}
export interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>;
}

export const WebAssemblyEngine = (
  globalThis as unknown as {
    readonly WebAssembly: {
      readonly Module: {
        new (bytes: Uint8Array): WasmModule;
        imports(module: WasmModule): WasmImport[];
        exports(module: WasmModule): { readonly name: string; readonly kind: string }[];
        customSections(module: WasmModule, name: string): ArrayBuffer[];
      };
      readonly Instance: new (module: WasmModule, imports: object) => WasmInstance;
      readonly CompileError: new (message: string) => Error;
      readonly LinkError: new (message: string) => Error;
      readonly RuntimeError: new (message: string) => Error;
      readonly Exception: new (tag: object, payload: readonly unknown[]) => object;
      readonly Global: new (type: { value: string; mutable?: boolean }, value?: number) => WasmGlobal;
      readonly Memory: new (limits: { initial: number; maximum?: number }) => WasmMemory;
    };
  }
).WebAssembly;
/** Bytes of a page of a program's memory. */
export const WASM_PAGE = 65536;
