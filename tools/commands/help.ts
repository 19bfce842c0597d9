// xl's help, of one command and of all.

import type { CommandSpec } from './command.ts';
import { COMMANDS, findCommand } from './table.ts';

const NAME_WIDTH = 19;

export function commandHelp(spec: CommandSpec): string {
  const flags = `${spec.modifies ? 'f' : ''}${spec.dryRun ? 'N' : ''}`;
  const options = spec.options === undefined ? '' : `Options:\n\n${spec.options}\n`;
  return `Usage: xl [-vtT${flags}] ${spec.name} ${spec.usage}\n\n${spec.description}.\n\n${options}`;
}

export function fullHelp(): string {
  const line = ({ name, description }: CommandSpec): string => {
    const gap = name.length > NAME_WIDTH ? `\n ${' '.repeat(NAME_WIDTH)} ` : ' ';
    return ` ${name.padEnd(NAME_WIDTH)}${gap}${description}\n`;
  };
  return `Usage xl [-vfNtT] <subcommand> [args]\n\nxl full list of subcommands:\n\n${COMMANDS.map(line).join('')}`;
}

/** What `xl help [name]` prints. */
export function help(name: string | undefined): string {
  if (name === undefined || name === 'help') return fullHelp();
  const spec = findCommand(name);
  return spec === undefined ? `command "${name}" not implemented\n` : commandHelp(spec);
}
