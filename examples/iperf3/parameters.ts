// What a test is, as the client says.
import { BAD_BLOCK_SIZE, NOT_IMPLEMENTED, TOO_MANY_STREAMS } from './control.ts';

export interface Parameters {
  readonly udp: boolean;
  /** Streams one way. */
  readonly parallel: number;
  /** The server sends. */
  readonly reverse: boolean;
  /** As many streams again go the other way. */
  readonly bidirectional: boolean;
  /** Bytes of a write, or of a datagram. */
  readonly len: number;
  /** How much there is to send, of all streams together; 0: until the client says. */
  readonly num: number;
  /** Bits a second that a stream sends; 0: what goes. */
  readonly bandwidth: number;
  /** Seconds at the start that do not count. */
  readonly omit: number;
  /** Datagrams count in 8 bytes, not in 4. */
  readonly wide: boolean;
}

/** `said`, or why not, in iperf3's numbers. */
export function readParameters(said: Readonly<Record<string, unknown>>): Parameters | number {
  const count = (key: string): number => {
    const value = said[key];
    return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER ? Math.floor(value) : 0;
  };
  const udp = said.udp === true;
  if (!udp && said.tcp !== true) return NOT_IMPLEMENTED;
  const [parallel, len] = [count('parallel'), count('len')];
  if (parallel < 1 || parallel > 128) return TOO_MANY_STREAMS;
  if (len < (udp ? 16 : 1) || len > (udp ? 65507 : 1 << 20)) return BAD_BLOCK_SIZE;
  return {
    udp,
    parallel,
    reverse: said.reverse === true,
    bidirectional: said.bidirectional === true,
    len,
    num: count('num') || count('blockcount') * len,
    bandwidth: count('bandwidth'),
    omit: count('omit'),
    wide: count('udp_counters_64bit') > 0,
  };
}
