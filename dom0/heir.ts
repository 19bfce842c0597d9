// `heir.js dom0|driver-domain --heir ...`: a process that waits to become that program's, with these arguments. Until it is,
// it has a name of its own: who looks at a host's processes finds one dom0.
import { fileURLToPath } from 'node:url';

const [node = '', , program, ...args] = process.argv;
const file = new URL(`./${program}.js`, import.meta.url);
process.argv = [node, fileURLToPath(file), ...args];
await import(file.href);
