// Loaded into a xenstored and those that it starts: one that is to take over begins when a file is there, and not before.
import { existsSync } from 'node:fs';

const LOOK_MS = 10;
const at = process.argv.indexOf('--take-over');
const word = new Int32Array(new SharedArrayBuffer(4));
if (at >= 0) while (!existsSync(`${process.argv[at + 1]}.go`)) Atomics.wait(word, 0, 0, LOOK_MS);
