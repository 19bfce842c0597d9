// The control of the xenstored rows: a daemon that knows no store. It cuts its input into messages, as any daemon
// must, and answers each with the same four bytes; what it reaches is what the client and the sockets allow.
import {
  acceptSocket,
  bindSocket,
  closeFd,
  dieWithParent,
  EPOLLIN,
  Epoll,
  listenSocket,
  mapPrivate,
  receiveBytes,
  sendBytes,
  streamSocket,
  viewOf,
  xenstoreFrame,
} from '#pvbus';

const BYTES = 256 * 1024;
const HEADER = 16;

dieWithParent(process.ppid);
const inAddress = mapPrivate(BYTES);
const input = new DataView(viewOf(inAddress, BYTES));
const outAddress = mapPrivate(BYTES);
const output = new Uint8Array(viewOf(outAddress, BYTES));
const reply = xenstoreFrame(2, 1, 0, Buffer.from('four'));
for (let at = 0; at + reply.length <= BYTES; at += reply.length) output.set(reply, at);

const listener = streamSocket();
bindSocket(listener, process.argv[2] ?? '');
listenSocket(listener, 128);
const epoll = new Epoll();
epoll.add(listener, EPOLLIN);
process.stdout.write('listening\n', () => {
  for (;;) {
    const ready = epoll.wait(-1);
    for (let i = 0; i < ready; i++) {
      const fd = epoll.readyFd(i);
      if (fd === listener) epoll.add(acceptSocket(listener), EPOLLIN);
      else answer(fd);
    }
  }
});

/** The client sends whole messages, few enough for the socket to take all the answers. */
function answer(fd: number): void {
  const n = receiveBytes(fd, inAddress, BYTES);
  if (n <= 0) {
    closeFd(fd);
    return;
  }
  let messages = 0;
  for (let at = 0; at < n; at += HEADER + input.getUint32(at + 12, true)) messages++;
  sendBytes(fd, outAddress, messages * reply.length);
}
