// A program of Linux's at the other end: run in a network namespace or outside, it takes bytes on a port, serves HTTP, or asks
// for it. `host-peer.ts sink ADDRESS PORT`, `http ADDRESS PORT`: says "ready", until it is killed; `load ADDRESS PORT COUNT`:
// says how many requests a second were answered; `send ADDRESS PORT MIB`: how many MiB a second were taken.
import { Agent, createServer as createHttp, get } from 'node:http';
import { connect, createServer } from 'node:net';

/** Requests that are out at a time, each on a connection that is kept. */
const AT_ONCE = 16;

const [what = '', host = '', port = '', count = '0'] = process.argv.slice(2);
const where = { host, port: Number(port) };
const ready = (): void => console.log('ready');

function sink(): void {
  const server = createServer({ allowHalfOpen: true }, socket => {
    let bytes = 0;
    socket.on('error', () => {});
    socket.on('data', part => {
      bytes += part.length;
    });
    socket.on('end', () => socket.end(String(bytes)));
  });
  server.listen(where, ready);
}

async function send(mib: number): Promise<number> {
  const chunk = new Uint8Array(65536);
  const from = performance.now();
  const socket = connect(where);
  for (let i = 0; i < mib * 16; i++) {
    if (!socket.write(chunk)) await new Promise(resolve => socket.once('drain', resolve));
  }
  socket.end();
  let text = '';
  for await (const part of socket) text += part;
  if (Number(text) !== mib * 1048576) throw new Error(`${text} bytes arrived`);
  return mib / ((performance.now() - from) / 1000);
}

async function load(requests: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
  const once = (): Promise<void> =>
    new Promise((resolve, reject) => {
      get({ ...where, agent, path: '/' }, response => {
        if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`));
        response.resume().on('end', resolve);
      }).on('error', reject);
    });
  for (let i = 0; i < AT_ONCE; i++) await once();
  const from = performance.now();
  let asked = 0;
  const worker = async (): Promise<void> => {
    while (asked++ < requests) await once();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return requests / ((performance.now() - from) / 1000);
}

if (what === 'sink') sink();
else if (what === 'http') createHttp((_request, response) => response.end('ok')).listen(where, ready);
else {
  console.log(await (what === 'load' ? load : send)(Number(count)));
  process.exit(0);
}
