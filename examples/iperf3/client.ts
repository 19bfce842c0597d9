// iperf3 -c, as a domain: cmdline = "ip=... connect=10.5.0.1 time=10 parallel=4 reverse". It powers off when it is done.
import { clock, console, net, system } from 'xenolith';
import {
  COOKIE,
  Control,
  CREATE_STREAMS,
  DISPLAY_RESULTS,
  EXCHANGE_RESULTS,
  IPERF_DONE,
  PARAM_EXCHANGE,
  PORT,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
} from './control.ts';
import { idOf, Job } from './job.ts';
import { readParameters } from './parameters.ts';
import { TcpStream } from './tcp-stream.ts';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567';

export async function measure(address: string): Promise<void> {
  const { args } = system;
  const time = Number(args.time ?? 10);
  const asked = {
    ...{ tcp: true, omit: 0, time, num: 0, blockcount: 0, parallel: Number(args.parallel ?? 1) },
    ...{ len: 131072, client_version: '3.12' },
    // iperf3 asks only whether it is there.
    ...(args.reverse === undefined ? {} : { reverse: true }),
  };
  const parameters = readParameters(asked);
  if (typeof parameters === 'number') throw new Error(`parallel=${args.parallel}: from 1 to 128`);
  const cookie = new Uint8Array(COOKIE).fill(0);
  for (let i = 0; i < COOKIE - 1; i++) cookie[i] = LETTERS.charCodeAt(Math.floor(Math.random() * LETTERS.length));
  const join = async (): Promise<Control> => {
    const control = new Control(await net.connect(address, PORT));
    await control.connection.write(cookie);
    return control;
  };
  const control = await join();
  await control.expect(PARAM_EXCHANGE);
  await control.send(asked);
  await control.expect(CREATE_STREAMS);
  const job = new Job(parameters);
  const streams: TcpStream[] = [];
  for (let i = 0; i < parameters.parallel; i++) {
    const { connection } = await join();
    streams.push(new TcpStream(connection, idOf(i), !parameters.reverse, job));
  }
  await control.expect(TEST_START);
  await control.expect(TEST_RUNNING);
  job.begin();
  for (const stream of streams) stream.run().catch(() => {});
  await clock.sleep(time * 1000);
  job.over = true;
  const seconds = job.seconds();
  await control.say(TEST_END);
  await control.expect(EXCHANGE_RESULTS);
  const cpu = job.cpu();
  await control.send({
    ...{ cpu_util_total: cpu, cpu_util_user: cpu, cpu_util_system: 0, sender_has_retransmits: 0 },
    ...{ congestion_used: 'reno', streams: streams.map(stream => stream.figures()) },
  });
  const theirs = await control.message();
  await control.expect(DISPLAY_RESULTS);
  await control.say(IPERF_DONE);
  const sum = (all: readonly { bytes?: unknown }[]): number => all.reduce((n, { bytes }) => n + Number(bytes), 0);
  const [here, there] = [sum(streams), sum(Array.isArray(theirs.streams) ? theirs.streams : [])];
  const [sent, received] = parameters.reverse ? [there, here] : [here, there];
  const rate = received / 1048576 / seconds;
  console.log(`${sent} bytes sent, ${received} received in ${seconds.toFixed(2)} s: ${rate.toFixed(0)} MiB/s`);
  await Promise.all(streams.map(stream => stream.close()));
  await control.connection.close();
}
