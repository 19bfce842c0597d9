// xl mem-set

import type { RunCommand } from './command.ts';
import { setMemory } from './set-memory.ts';

export const run: RunCommand = (args, context) => setMemory(args, context, 'setMemoryTarget', 'dynamic');
