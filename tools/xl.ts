// The xl program.

import { exitWith, processIo } from './process-io.ts';
import { runXl } from './run-xl.ts';

exitWith('xl', runXl(process.argv.slice(2), processIo('xl')));
