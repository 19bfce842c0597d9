// Hobbit's netcat 1.10 as it was published: sockets as programs of before WASI use them.
import { join } from 'node:path';
import { compileWasi } from '../wasi-cc.ts';
import { debianSource } from './debian-source.ts';
import { WASI_HEADERS } from './wasi-headers.ts';

const NETCAT = { name: 'netcat', version: '1.10', suite: 'bookworm' } as const;
/** Without signals nothing interrupts a `connect`; without resolv.h there is nothing to set up. */
const LEFT_OUT = ['-Dalarm(seconds)=0', '-Dres_init()=0'];
/** K&R C: what it does not declare returns an int. */
const INCLUDED = ['time.h', 'netdb.h'].flatMap(header => ['-include', header]);

export async function netcat(): Promise<string> {
  const source = await debianSource(NETCAT);
  return compileWasi(join(source, 'netcat.c'), {
    posix: true,
    setjmp: true,
    flags: [
      ...['-O2', '-w', '-Wl,--strip-all', '-I', WASI_HEADERS, ...INCLUDED, ...LEFT_OUT],
      ...['-DLINUX', '-D_WASI_EMULATED_SIGNAL', '-lwasi-emulated-signal'],
    ],
  });
}
