// What a client says, in the protocol's layouts.
import { NBD_INFO_BLOCK_SIZE, NBD_OPT_GO, NBD_OPTION_BYTES, NBD_OPTION_MAGIC, NBD_REQUEST_MAGIC } from '#pvbus';

/** An option the client haggles about. */
export function option(number: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(NBD_OPTION_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, NBD_OPTION_MAGIC);
  view.setUint32(8, number);
  view.setUint32(12, data.length);
  bytes.set(data, NBD_OPTION_BYTES);
  return bytes;
}

/** NBD_OPT_GO for an export, asking for its block sizes. */
export function optionGo(exportName: string): Uint8Array {
  const name = new TextEncoder().encode(exportName);
  const data = new Uint8Array(4 + name.length + 4);
  const view = new DataView(data.buffer);
  view.setUint32(0, name.length);
  data.set(name, 4);
  view.setUint16(4 + name.length, 1);
  view.setUint16(6 + name.length, NBD_INFO_BLOCK_SIZE);
  return option(NBD_OPT_GO, data);
}

export interface RequestHeader {
  readonly type: number;
  readonly flags: number;
  /** The two halves of what the reply has to name. */
  readonly cookieHi: number;
  readonly cookieLo: number;
  readonly at: number;
  readonly length: number;
}

/** A request without its data, into `view` from `base` on. */
export function writeRequest(view: DataView, base: number, request: RequestHeader): void {
  view.setUint32(base, NBD_REQUEST_MAGIC);
  view.setUint16(base + 4, request.flags);
  view.setUint16(base + 6, request.type);
  view.setUint32(base + 8, request.cookieHi);
  view.setUint32(base + 12, request.cookieLo);
  view.setUint32(base + 16, Math.floor(request.at / 2 ** 32));
  view.setUint32(base + 20, request.at >>> 0);
  view.setUint32(base + 24, request.length);
}
