// xl reboot

import type { RunCommand } from './command.ts';
import { askGuests } from './shutdown.ts';

export const run: RunCommand = (args, context) => askGuests(args, context, 'reboot');
