// Bytes with descriptors, as many as one likes.
import { koffi } from '#pvbus';

const DONTWAIT = 0x40;
const NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;

/** `length` bytes of 0xff and `fds` times the descriptor `fd` on `socket`: bytes sent, or -errno. Never waits. */
export function sendDescriptors(socket: number, length: number, fds: number, fd: number): number {
  const sendmsg = koffi.load('libc.so.6').func('long sendmsg(int, void *, int)');
  const control = Buffer.alloc(16 + 4 * Math.max(1, fds));
  control.writeBigUInt64LE(BigInt(16 + 4 * fds), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  for (let i = 0; i < fds; i++) control.writeInt32LE(fd, 16 + 4 * i);
  const data = Buffer.alloc(Math.max(1, length), 0xff);
  const iovec = Buffer.alloc(16);
  iovec.writeBigUInt64LE(BigInt(koffi.address(data)), 0);
  iovec.writeBigUInt64LE(BigInt(length), 8);
  const header = Buffer.alloc(56);
  header.writeBigUInt64LE(BigInt(koffi.address(iovec)), 16);
  header.writeBigUInt64LE(1n, 24);
  if (fds > 0) {
    header.writeBigUInt64LE(BigInt(koffi.address(control)), 32);
    header.writeBigUInt64LE(BigInt(control.length), 40);
  }
  const sent = Number(sendmsg(socket, header, DONTWAIT | NOSIGNAL));
  return sent < 0 ? -koffi.errno() : sent;
}
