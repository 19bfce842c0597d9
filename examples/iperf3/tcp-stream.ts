import { type Connection, clock } from 'xenolith';
import type { Figures, Job, Stream } from './job.ts';

export class TcpStream implements Stream {
  readonly id: number;
  readonly sends: boolean;
  bytes: number;
  private readonly connection: Connection;
  private readonly job: Job;
  private last = 0;

  /** `early`: bytes that have come already. */
  constructor(connection: Connection, id: number, sends: boolean, job: Job, early = 0) {
    this.connection = connection;
    this.id = id;
    this.sends = sends;
    this.job = job;
    this.bytes = early;
  }
  run(): Promise<void> {
    return this.sends ? this.send() : this.receive();
  }
  restart(): void {
    this.bytes = 0;
  }
  figures(): Figures {
    const end = this.last === 0 ? this.job.seconds() : (this.last - this.job.began) / 1000;
    // -1: this side does not know how many segments were sent again.
    return {
      ...{ id: this.id, bytes: this.bytes, retransmits: -1, jitter: 0, errors: 0, packets: 0 },
      ...{ start_time: 0, end_time: Math.max(end, 0) },
    };
  }
  close(): Promise<void> {
    return this.connection.reset();
  }
  private async receive(): Promise<void> {
    for await (const part of this.connection) {
      this.bytes += part.length;
      this.last = clock.now();
    }
  }
  private async send(): Promise<void> {
    const { job } = this;
    const from = clock.now();
    const block = Uint8Array.from({ length: job.parameters.len }, (_, i) => i * 31);
    for (let sent = 0; job.takeBlock(); sent += block.length) {
      await job.pace(sent, from);
      await this.connection.write(block);
      this.bytes += block.length;
      this.last = clock.now();
    }
    // A client that waits for the rest of a block goes on only when it hears that none comes.
    if (job.over) await this.connection.end();
  }
}
