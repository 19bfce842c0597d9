// The control connection of iperf3. A state is a byte; a message is a u32, its first byte first, and so many bytes of JSON.
import type { Connection } from 'xenolith';

export const PORT = 5201;
/** Who a test's connections are of: 36 characters and a NUL, the first bytes of each. */
export const COOKIE = 37;
/** Of a message. */
const MOST = 65536;

export const TEST_START = 1;
export const TEST_RUNNING = 2;
export const TEST_END = 4;
export const PARAM_EXCHANGE = 9;
export const CREATE_STREAMS = 10;
export const EXCHANGE_RESULTS = 13;
export const DISPLAY_RESULTS = 14;
export const IPERF_DONE = 16;
export const SERVER_ERROR = 254;
export const ACCESS_DENIED = 255;
/** What a server can say behind SERVER_ERROR, in iperf3's numbers. */
export const TOO_MANY_STREAMS = 6;
export const BAD_BLOCK_SIZE = 7;
export const NOT_IMPLEMENTED = 13;

export class Control {
  readonly connection: Connection;
  private waiting: Uint8Array = new Uint8Array(0);

  constructor(connection: Connection) {
    this.connection = connection;
  }
  async take(count: number): Promise<Uint8Array> {
    while (this.waiting.length < count) {
      const part = await this.connection.read();
      if (part === null) throw new Error('it has hung up');
      const both = new Uint8Array(this.waiting.length + part.length);
      both.set(this.waiting);
      both.set(part, this.waiting.length);
      this.waiting = both;
    }
    const taken = this.waiting.subarray(0, count);
    this.waiting = this.waiting.subarray(count);
    return taken;
  }
  /** What came behind all that was taken. */
  rest(): Uint8Array {
    return this.waiting;
  }
  async state(): Promise<number> {
    return (await this.take(1))[0]!;
  }
  async expect(state: number): Promise<void> {
    const is = await this.state();
    if (is === ACCESS_DENIED) throw new Error('the server is busy with another test');
    if (is !== state) throw new Error(`state ${is}, and not ${state}`);
  }
  say(state: number): Promise<void> {
    return this.connection.write(Uint8Array.of(state));
  }
  /** Nothing comes of this test: why, and no errno of Linux's. */
  async refuse(reason: number): Promise<void> {
    const bytes = new Uint8Array(9);
    bytes[0] = SERVER_ERROR;
    new DataView(bytes.buffer).setUint32(1, reason);
    await this.connection.write(bytes);
  }
  async message(): Promise<Readonly<Record<string, unknown>>> {
    const head = await this.take(4);
    const length = new DataView(head.buffer, head.byteOffset).getUint32(0);
    if (length > MOST) throw new Error(`a message of ${length} bytes`);
    const value: unknown = JSON.parse(new TextDecoder().decode(await this.take(length)));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('a message of no names');
    return value as Record<string, unknown>;
  }
  async send(value: object): Promise<void> {
    const text = new TextEncoder().encode(JSON.stringify(value));
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, text.length);
    await this.connection.write(head);
    await this.connection.write(text);
  }
}
