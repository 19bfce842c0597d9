// Linux's end of the transfers, run inside the namespace: `peer.ts`. Listens on port 9000; a line `connect ADDRESS
// PORT BYTES BACK SEED` on standard input makes a connection of its own. Either side of a connection sends first a line `BYTES
// BACK SEED`, when it is the one that opened; then both send and check. What became of each is a line on standard output.
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fillStream } from '../support/tcp-stream.ts';

// order: what is read to its end must not be destroyed, there may be more to send: destroyOnReturn.

/** Send `out` bytes of stream `mine`, end, and check that `want` of stream `theirs` come. */
async function exchange(
  socket: Socket,
  parts: AsyncIterator<Buffer>,
  rest: Buffer,
  out: number,
  mine: number,
  want: number,
  theirs: number,
) {
  const sending = (async () => {
    for (let sent = 0; sent < out; ) {
      const part = Buffer.alloc(Math.min(8192, out - sent));
      fillStream(part, mine, sent);
      sent += part.length;
      if (!socket.write(part)) await new Promise(resolve => socket.once('drain', resolve));
    }
    socket.end();
  })();
  let got = 0;
  for (let part: Buffer | undefined = rest; part !== undefined; ) {
    const expected = Buffer.alloc(part.length);
    fillStream(expected, theirs, got);
    if (!part.equals(expected)) throw new Error(`wrong bytes within ${part.length} from ${got} on`);
    got += part.length;
    const next = await parts.next();
    part = next.done ? undefined : next.value;
  }
  await sending;
  if (got !== want) throw new Error(`${got} bytes of ${want}`);
}
const told = (work: Promise<void>): Promise<void> =>
  work.then(
    () => console.log('ok'),
    error => console.log(`wrong: ${error.message}`),
  );

createServer({ allowHalfOpen: true }, socket => {
  socket.on('error', () => {});
  void told(
    (async () => {
      const parts: AsyncIterator<Buffer> = socket.iterator({ destroyOnReturn: false });
      let head = Buffer.alloc(0);
      while (!head.includes(10)) head = Buffer.concat([head, (await parts.next()).value as Buffer]);
      const end = head.indexOf(10);
      const [there, back, seed] = head.subarray(0, end).toString().split(' ').map(Number) as [number, number, number];
      await exchange(socket, parts, head.subarray(end + 1), back, seed + 1, there, seed);
    })(),
  );
}).listen(9000, () => console.log('ready'));

createInterface({ input: process.stdin }).on('line', line => {
  const [, address, port, there, back, seed] = line.split(' ') as [string, string, string, string, string, string];
  const socket = connect({ host: address, port: Number(port), allowHalfOpen: true });
  socket.on('error', () => {});
  socket.write(`${there} ${back} ${seed}\n`);
  const parts: AsyncIterator<Buffer> = socket.iterator({ destroyOnReturn: false });
  void told(exchange(socket, parts, Buffer.alloc(0), Number(there), Number(seed), Number(back), Number(seed) + 1));
});
