// One 4 KiB page of memory and the views of it that ring, table and message code use.

import { PAGE_SIZE } from './abi/xenolith.ts';

/** Views are made once: making one per access costs more than the access and leaves garbage. */
export interface Page {
  readonly bytes: Uint8Array;
  /** For Atomics, which need an integer view. */
  readonly words: Int32Array;
  readonly view: DataView;
}

/** The page at `byteOffset` of `buffer`, or several that lie side by side; they must lie inside it and be word aligned. */
export function pageAt(buffer: ArrayBufferLike, byteOffset: number, count = 1): Page {
  return {
    bytes: new Uint8Array(buffer, byteOffset, count * PAGE_SIZE),
    words: new Int32Array(buffer, byteOffset, (count * PAGE_SIZE) / 4),
    view: new DataView(buffer, byteOffset, count * PAGE_SIZE),
  };
}

/** A zeroed page that nobody else sees. */
export function privatePage(): Page {
  return pageAt(new ArrayBuffer(PAGE_SIZE), 0);
}
