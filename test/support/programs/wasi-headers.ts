// Where xenolith_sock.h and netdb.h are, for -I.
import { fileURLToPath } from 'node:url';

export const WASI_HEADERS = fileURLToPath(new URL('../../../domu-kernel/wasi', import.meta.url));
