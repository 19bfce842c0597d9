// A connection that is reset at any moment of its end: its peer hears of a reset or of the end that came before, and no descriptor stays.
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, it } from 'vitest';
import { resetSocket } from '../../../../dom0/backends/reset-socket.ts';
import { serveOn } from '../../../support/host-peer.ts';
import { eventually, openFiles } from '../../../support/processes.ts';

const TIMES = 10;
const tick = (): Promise<void> => new Promise(resolve => process.nextTick(resolve));
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

it.each([
  ['before its end', false, 0, async () => {}],
  ['with its end', true, 0, async () => {}],
  ['behind its end', true, 0, tick],
  ['a turn behind its end', true, 0, turn],
  ['with its end, behind bytes', true, 100, async () => {}],
  ['with its end, behind more bytes than its peer takes', true, 1 << 20, async () => {}],
  ['before its end, behind more bytes than its peer takes', false, 1 << 20, turn],
])('%s', async (_, ends, bytes, wait) => {
  const heard: string[] = [];
  const { port, server } = await serveOn(socket => {
    socket.on('error', error => heard.push((error as NodeJS.ErrnoException).code ?? ''));
    socket.on('end', () => {
      heard.push('end');
      socket.destroy();
    });
    if (bytes <= 100) socket.resume();
    else setTimeout(() => socket.resume(), 100);
  });
  const sockets = (): number => openFiles(process.pid).filter(name => name === 'socket:').length;
  const before = sockets();
  for (let n = 0; n < TIMES; n++) {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    socket.on('error', error => heard.push(error.message));
    await once(socket, 'connect');
    if (bytes > 0) socket.write(new Uint8Array(bytes));
    if (ends) socket.end();
    await wait();
    resetSocket(socket);
  }
  await eventually('all are closed', () => sockets() === before && heard.length >= TIMES);
  // Of a reset behind bytes, too, Node tells as of an end.
  const may = ends || bytes > 0 ? ['ECONNRESET', 'end'] : ['ECONNRESET'];
  expect(heard.filter(what => !may.includes(what))).toEqual([]);
  server.close();
});
