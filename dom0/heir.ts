// `heir.js dom0|driver-domain --heir ...`: a process that waits to become that program's, with these arguments. Until it is,
// it has a name of its own: who looks at a host's processes finds one dom0.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const [node = '', , program, ...args] = process.argv;
const file = fileURLToPath(new URL(`./${program}.js`, import.meta.url));
process.argv = [node, file, ...args];
createRequire(import.meta.url)(file);
