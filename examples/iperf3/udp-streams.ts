// Streams of datagrams over one socket: each has another peer. A datagram begins with when it was sent, in seconds and
// microseconds, and its number, from 1 on.
import { clock, net, type UdpSocket } from 'xenolith';
import { type Figures, idOf, type Job, type Stream } from './job.ts';

const HELLO = '9876';
const WELCOME = '6789';
/** Datagrams that are sent before others have a turn. */
const BURST = 16;

export class UdpStreams {
  private readonly socket: UdpSocket;
  private readonly job: Job;
  private readonly streams = new Map<string, UdpStream>();
  private readonly joined: () => void;
  /** Resolves when all streams are there. */
  readonly complete: Promise<void>;

  /** `sends`: what the stream of that index does. */
  constructor(port: number, job: Job, count: number, sends: (index: number) => boolean) {
    this.socket = net.udp(port);
    this.job = job;
    let joined = (): void => {};
    this.complete = new Promise(resolve => {
      joined = () => {
        if (this.streams.size === count) resolve();
      };
    });
    this.joined = joined;
    void this.listen(count, sends);
  }
  get all(): UdpStream[] {
    return [...this.streams.values()];
  }
  close(): void {
    this.socket.close();
  }
  private async listen(count: number, sends: (index: number) => boolean): Promise<void> {
    for await (const { data, address, port } of this.socket) {
      const peer = `${address} ${port}`;
      let stream = this.streams.get(peer);
      if (data.length !== HELLO.length) {
        stream?.heard(data);
        continue;
      }
      if (new TextDecoder().decode(data) !== HELLO) continue;
      if (stream === undefined) {
        const index = this.streams.size;
        if (index === count) continue;
        const send = (bytes: Uint8Array): boolean => this.socket.send(bytes, address, port);
        stream = new UdpStream(send, idOf(index), sends(index), this.job);
        this.streams.set(peer, stream);
      }
      this.socket.send(WELCOME, address, port);
      this.joined();
    }
  }
}

class UdpStream implements Stream {
  readonly id: number;
  readonly sends: boolean;
  bytes = 0;
  private readonly give: (bytes: Uint8Array) => boolean;
  private readonly job: Job;
  private datagrams = 0;
  private highest = 0;
  private before = 0;
  private transit: number | undefined;
  private jitter = 0;

  constructor(give: (bytes: Uint8Array) => boolean, id: number, sends: boolean, job: Job) {
    this.give = give;
    this.id = id;
    this.sends = sends;
    this.job = job;
  }
  async run(): Promise<void> {
    if (!this.sends) return;
    const { job } = this;
    const { len, wide } = job.parameters;
    const from = clock.now();
    const bytes = new Uint8Array(len);
    const view = new DataView(bytes.buffer);
    for (let sent = 0; job.takeBlock(); sent++) {
      await job.pace(sent * len, from);
      if (sent % BURST === 0) await new Promise(resolve => setImmediate(resolve));
      const now = clock.now() * 1000;
      view.setUint32(0, Math.floor(now / 1e6));
      view.setUint32(4, Math.floor(now % 1e6));
      if (wide) view.setBigUint64(8, BigInt(sent + 1));
      else view.setUint32(8, sent + 1);
      while (!job.over && !this.give(bytes)) await clock.sleep(1);
      this.bytes += len;
      this.highest = ++this.datagrams;
    }
  }
  heard(data: Uint8Array): void {
    if (this.sends || data.length < 16) return;
    const view = new DataView(data.buffer, data.byteOffset);
    const number = this.job.parameters.wide ? Number(view.getBigUint64(8)) : view.getUint32(8);
    this.bytes += data.length;
    this.datagrams++;
    this.highest = Math.max(this.highest, number);
    // RFC 3550, 6.4.1. The two clocks need not agree.
    const transit = clock.now() / 1000 - (view.getUint32(0) + view.getUint32(4) / 1e6);
    this.jitter += (Math.abs(transit - (this.transit ?? transit)) - this.jitter) / 16;
    this.transit = transit;
  }
  restart(): void {
    this.bytes = 0;
    this.datagrams = 0;
    this.before = this.highest;
  }
  figures(): Figures {
    const packets = this.highest - this.before;
    return {
      ...{ id: this.id, bytes: this.bytes, retransmits: -1, jitter: this.jitter, packets },
      ...{ errors: Math.max(0, packets - this.datagrams), start_time: 0, end_time: this.job.seconds() },
    };
  }
  async close(): Promise<void> {}
}
