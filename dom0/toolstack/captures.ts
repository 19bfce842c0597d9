// `xl capture`: hands on what netback captures, until the tool goes away. What it does not read is dropped, and counted.
import { type CaptureEvent, type ToolstackArgs, XenError } from '#pvbus';
import type { Bridges } from '../backends/netback/bridges.ts';

/** While a tool has so much to read still, frames are dropped. */
const MAX_UNREAD = 4 << 20;

export interface CaptureReader {
  tell(event: CaptureEvent): void;
  /** Bytes it has not taken yet. */
  unread(): number;
}

export class Captures {
  readonly #bridges: Pick<Bridges, 'capture'>;
  readonly #ends = new Map<number, () => Promise<void>>();
  #last = 0;

  constructor(bridges: Pick<Bridges, 'capture'>) {
    this.#bridges = bridges;
  }

  /** Throws ENODEV or ENOENT where there is nothing to capture. `stop`: for a tool that has gone. */
  async begin(
    { domid, handle, bridge, limit }: ToolstackArgs<'capture'>,
    reader: CaptureReader,
  ): Promise<{ capture: number; stop: () => void }> {
    if ((domid === null) === (bridge === null)) throw new XenError('EINVAL', 'a capture is of a domain or of a bridge');
    const what = domid === null ? { bridge: bridge! } : { domid, handle };
    let lost = 0;
    const end = await this.#bridges.capture(what, limit, ({ frames, dropped, records, over }) => {
      lost += dropped;
      if (reader.unread() > MAX_UNREAD && !over) {
        lost += frames;
        return;
      }
      reader.tell({ event: 'capture', frames, dropped: lost, records, over });
      lost = 0;
    });
    const capture = ++this.#last;
    this.#ends.set(capture, end);
    return { capture, stop: () => void this.end(capture) };
  }
  /** Resolves when the last frames were told. One that has ended is none. */
  async end(capture: number): Promise<void> {
    const end = this.#ends.get(capture);
    this.#ends.delete(capture);
    await end?.();
  }
}
