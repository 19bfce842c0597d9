// Does what the test says, over a connection to it through the gateway: a line of JSON each way. control=PORT.
import { type Connection, clock, net, system } from 'xenolith';

interface Order {
  readonly id: number;
  readonly op: 'address' | 'resolve' | 'fetch' | 'exchange' | 'read' | 'reset' | 'connect' | 'ping';
  readonly host: string;
  readonly port: number;
  readonly count: number;
}
const decoder = new TextDecoder();

async function all(connection: Connection): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const bytes of connection) parts.push(bytes);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
/** Length and a sum of what a page holds. */
async function fetchPage(host: string, port: number, path: string): Promise<string> {
  const connection = await net.connect(host, port);
  await connection.write(`GET ${path} HTTP/1.0\r\n\r\n`);
  const bytes = await all(connection);
  await connection.close();
  const head = decoder.decode(bytes.subarray(0, 300)).indexOf('\r\n\r\n') + 4;
  let sum = 0;
  for (const byte of bytes.subarray(head)) sum = (Math.imul(sum, 31) + byte) >>> 0;
  return `${bytes.length - head} ${sum}`;
}

async function execute({ op, host, port, count }: Order): Promise<unknown> {
  if (op === 'address') return net.address;
  if (op === 'resolve') return net.resolve(host);
  if (op === 'ping') return net.ping(host).then(() => 'answered');
  if (op === 'fetch') return Promise.all(Array.from({ length: count }, (_, i) => fetchPage(host, port, `/${i}`)));
  const connection = await net.connect(host, port);
  if (op === 'exchange') {
    await connection.write('over and out');
    await connection.end(); // the other side goes on
    return decoder.decode(await all(connection));
  }
  if (op === 'read') {
    await connection.write('anything');
    return decoder.decode(await all(connection));
  }
  if (op === 'reset') {
    await connection.write('on its way');
    await connection.read();
    await connection.reset();
  } else await connection.close();
  return 'connected';
}

async function serve(connection: Connection): Promise<void> {
  await connection.write(`${system.name}\n`);
  // Who says nothing does not hear that there is nobody any more.
  const beat = setInterval(() => connection.write('\n').catch(() => clearInterval(beat)), 200);
  let text = '';
  for await (const bytes of connection) {
    text += decoder.decode(bytes);
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const order = JSON.parse(text.slice(0, end)) as Order;
      text = text.slice(end + 1);
      const answer = await execute(order).then(
        result => ({ result }),
        error => ({ code: (error as { code?: string }).code ?? String(error) }),
      );
      await connection.write(`${JSON.stringify({ id: order.id, ...answer })}\n`);
    }
  }
}

export default async function main(): Promise<void> {
  for (;;) {
    try {
      await serve(await net.connect('10.77.0.1', Number(system.args.control)));
    } catch {
      // There is no gateway yet, or no more.
    }
    await clock.sleep(100);
  }
}
