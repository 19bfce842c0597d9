// The xentop program.

import { exitWith, processIo } from './process-io.ts';
import { runXentop } from './xentop/run.ts';

exitWith('xentop', runXentop('xentop', process.argv.slice(2), processIo('xentop')));
