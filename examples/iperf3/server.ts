// One test at a time, as iperf3 -s: who comes meanwhile hears that it is busy.
import { type Connection, clock, console, net } from 'xenolith';
import {
  ACCESS_DENIED,
  COOKIE,
  Control,
  CREATE_STREAMS,
  DISPLAY_RESULTS,
  EXCHANGE_RESULTS,
  PARAM_EXCHANGE,
  PORT,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
} from './control.ts';
import { idOf, Job, type Stream } from './job.ts';
import { readParameters } from './parameters.ts';
import { TcpStream } from './tcp-stream.ts';
import { UdpStreams } from './udp-streams.ts';

/** A client that says and sends nothing for so long has gone. */
const SILENCE_MS = 30_000;
/** Datagrams that are on their way when a test ends are waited for so long. */
const LATE_MS = 100;

export async function serve(): Promise<void> {
  const listener = await net.listen(PORT);
  let test: Test | undefined;
  const meet = async (connection: Connection): Promise<void> => {
    const control = new Control(connection);
    const silent = setTimeout(() => void connection.reset(), SILENCE_MS);
    const cookie = new TextDecoder().decode(await control.take(COOKIE));
    clearTimeout(silent);
    if (test?.join(cookie, connection, control.rest())) return;
    if (test !== undefined) {
      await control.say(ACCESS_DENIED);
      return connection.close();
    }
    test = new Test(control, cookie);
    try {
      console.log(await test.run());
    } finally {
      await test.close();
      test = undefined;
    }
  };
  for await (const connection of listener) {
    meet(connection).catch(async error => {
      console.log(`a test ended: ${error.message}`);
      await connection.reset();
    });
  }
}

class Test {
  private readonly control: Control;
  private readonly cookie: string;
  private job: Job | undefined;
  private streams: Stream[] = [];
  private datagrams: UdpStreams | undefined;
  private wanted = 0;
  private joined: () => void = () => {};
  private readonly watch: NodeJS.Timeout;
  private heard = 0;
  private heardAt = clock.now();

  constructor(control: Control, cookie: string) {
    this.control = control;
    this.cookie = cookie;
    this.watch = setInterval(() => this.look(), 1000);
  }
  /** True: it is a stream of this test. */
  join(cookie: string, connection: Connection, early: Uint8Array): boolean {
    const { job } = this;
    if (cookie !== this.cookie || job === undefined || this.streams.length >= this.wanted) return false;
    const index = this.streams.length;
    this.streams.push(new TcpStream(connection, idOf(index), this.sends(index), job, early.length));
    if (this.streams.length === this.wanted) this.joined();
    return true;
  }
  /** What became of it, in a line. */
  async run(): Promise<string> {
    const { control } = this;
    await control.say(PARAM_EXCHANGE);
    const parameters = readParameters(await control.message());
    if (typeof parameters === 'number') {
      await control.refuse(parameters);
      return `refused a test, for reason ${parameters}`;
    }
    const { udp, parallel, bidirectional, omit } = parameters;
    const job = new Job(parameters);
    this.job = job;
    const count = bidirectional ? parallel * 2 : parallel;
    if (udp) this.datagrams = new UdpStreams(PORT, job, count, index => this.sends(index));
    else this.wanted = count;
    const complete = this.datagrams?.complete ?? new Promise<void>(resolve => (this.joined = resolve));
    await control.say(CREATE_STREAMS);
    await complete;
    if (this.datagrams) this.streams = this.datagrams.all;
    const { streams } = this;
    job.begin();
    await control.say(TEST_START);
    await control.say(TEST_RUNNING);
    // What goes wrong with a stream the client sees, too.
    for (const stream of streams) stream.run().catch(() => {});
    const omitted = setTimeout(() => {
      job.begin();
      for (const stream of streams) stream.restart();
    }, omit * 1000);
    if (omit === 0) clearTimeout(omitted);
    await control.expect(TEST_END).finally(() => {
      job.over = true;
      clearTimeout(omitted);
    });
    const seconds = job.seconds();
    await control.say(EXCHANGE_RESULTS);
    await this.catchUp(await control.message());
    await control.send({
      ...{ cpu_util_total: job.cpu(), cpu_util_user: job.cpu(), cpu_util_system: 0, sender_has_retransmits: 0 },
      ...{ congestion_used: 'reno', streams: streams.map(stream => stream.figures()) },
    });
    await control.say(DISPLAY_RESULTS);
    await control.take(1);
    const total = (sends: boolean): string => {
      const bytes = streams.reduce((sum, stream) => sum + (stream.sends === sends ? stream.bytes : 0), 0);
      return `${(bytes / 1048576).toFixed(1)} MiB`;
    };
    const what = `${streams.length} ${udp ? 'UDP' : 'TCP'} stream${streams.length === 1 ? '' : 's'}`;
    return `${what}: ${total(false)} received, ${total(true)} sent in ${seconds.toFixed(2)} s`;
  }
  async close(): Promise<void> {
    clearInterval(this.watch);
    if (this.job) this.job.over = true;
    this.datagrams?.close();
    await Promise.all(this.streams.map(stream => stream.close()));
    await this.control.connection.close();
  }
  private sends(index: number): boolean {
    const { parallel, reverse, bidirectional } = this.job!.parameters;
    return bidirectional ? index >= parallel : reverse;
  }
  /** What the client has sent, and TCP has not brought yet, still counts. */
  private async catchUp(theirs: Readonly<Record<string, unknown>>): Promise<void> {
    const { job } = this;
    if (job === undefined || job.parameters.omit > 0 || !Array.isArray(theirs.streams)) return;
    const sent = new Map<unknown, unknown>(theirs.streams.map(one => [one?.id, one?.bytes]));
    const behind = (stream: Stream): boolean => !stream.sends && stream.bytes < Number(sent.get(stream.id) ?? 0);
    const until = clock.now() + (job.parameters.udp ? LATE_MS : SILENCE_MS);
    while (this.streams.some(behind) && clock.now() < until) await clock.sleep(1);
  }
  private look(): void {
    const bytes = this.streams.reduce((sum, stream) => sum + stream.bytes, 0);
    if (bytes !== this.heard) this.heardAt = clock.now();
    this.heard = bytes;
    if (clock.now() - this.heardAt > SILENCE_MS) void this.control.connection.reset();
  }
}
