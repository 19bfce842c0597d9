// Values on their way between two vCPUs, as bytes: copies, except that shared memory and locks arrive as themselves.
import { Deserializer, Serializer } from 'node:v8';
import type { Kicks } from './kicks.ts';
import { Barrier, LOCK_WORDS, Lock, Semaphore } from './locks.ts';
import type { SharedViews } from './shared-views.ts';

const VIEWS = [
  Int8Array,
  Uint8ClampedArray,
  Uint8Array,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
] as const;
const LOCKS = [Lock, Semaphore, Barrier] as const;
type AnyLock = Lock | Semaphore | Barrier;
type AnyView = InstanceType<(typeof VIEWS)[number]>;
const elementBytes = (kind: number): number => {
  const View = VIEWS[kind]!;
  return 'BYTES_PER_ELEMENT' in View ? View.BYTES_PER_ELEMENT : 1;
};

/** Where the engine's format hands a view over to us. */
const COPIED = 0;
const SHARED = 1;
const LOCK = 2;

/** Stands for a lock: the engine hands over views, and nothing else. */
class LockHandle extends Int32Array {
  lock: AnyLock | undefined;
}

export interface Values {
  readonly views: SharedViews;
  readonly kicks: Kicks;
}

class Writer extends Serializer {
  readonly #views: SharedViews;
  constructor({ views }: Values) {
    super();
    this.#views = views;
    (
      this as unknown as { _setTreatArrayBufferViewsAsHostObjects(on: boolean): void }
    )._setTreatArrayBufferViewsAsHostObjects(true);
  }
  _writeHostObject(view: AnyView): void {
    if (view instanceof LockHandle) {
      this.writeUint32(LOCK);
      this.writeUint32(LOCKS.findIndex(kind => view.lock instanceof kind));
      this.#writePlace(view.lock!.words);
      return;
    }
    const kind = VIEWS.findIndex(View => view instanceof View);
    const shared = this.#views.placeOf(view) !== undefined;
    this.writeUint32(shared ? SHARED : COPIED);
    this.writeUint32(kind);
    this.writeUint32(view.byteLength);
    if (shared) this.#writePlace(view);
    else this.writeRawBytes(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  }
  #writePlace(view: ArrayBufferView): void {
    const { chunk, size, offset } = this.#views.placeOf(view)!;
    this.writeDouble(chunk);
    this.writeDouble(size);
    this.writeDouble(offset);
  }
}
class Reader extends Deserializer {
  readonly #values: Values;
  constructor(bytes: Uint8Array, values: Values) {
    super(bytes);
    this.#values = values;
  }
  _readHostObject(): AnyView | AnyLock {
    const what = this.readUint32();
    const kind = this.readUint32();
    if (what === LOCK) {
      const { buffer, offset } = this.#place();
      return new LOCKS[kind]!(new Int32Array(buffer, offset, LOCK_WORDS), this.#values.kicks);
    }
    const length = this.readUint32();
    const { buffer, offset } = what === SHARED ? this.#place() : { buffer: this.#copy(length), offset: 0 };
    const View = VIEWS[kind] as new (buffer: ArrayBuffer, offset: number, length: number) => AnyView;
    return new View(buffer, offset, length / elementBytes(kind));
  }
  #place(): { buffer: ArrayBuffer; offset: number } {
    const chunk = this.readDouble();
    const size = this.readDouble();
    return { buffer: this.#values.views.buffer(chunk, size), offset: this.readDouble() };
  }
  #copy(length: number): ArrayBuffer {
    return new Uint8Array(this.readRawBytes(length)).buffer;
  }
}

/** Throws a DataCloneError for what cannot be copied: functions, proxies, promises. */
export function encode(value: unknown, values: Values): Uint8Array {
  const writer = new Writer(values);
  writer.writeHeader();
  writer.writeValue(withHandles(value, new Map()));
  return writer.releaseBuffer();
}
export function decode(bytes: Uint8Array, values: Values): unknown {
  const reader = new Reader(bytes, values);
  reader.readHeader();
  return reader.readValue();
}

/** The same with locks replaced, in arrays and plain objects; anything else is as it is. */
function withHandles(value: unknown, seen: Map<object, unknown>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = seen.get(value);
  if (known !== undefined) return known;
  if (LOCKS.some(kind => value instanceof kind)) {
    const handle = new LockHandle(0);
    handle.lock = value as AnyLock; // just checked
    seen.set(value, handle);
    return handle;
  }
  if (Array.isArray(value)) {
    const copy: unknown[] = [];
    seen.set(value, copy);
    for (const item of value) copy.push(withHandles(item, seen));
    return copy;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  const copy: Record<string, unknown> = {};
  seen.set(value, copy);
  for (const [key, item] of Object.entries(value)) copy[key] = withHandles(item, seen);
  return copy;
}
