// xl's help, of one command and of all.

import type { CommandSpec } from './command.ts';
import { COMMANDS, findCommand } from './table.ts';

const NAME_WIDTH = 19;
const JSON_HELP = '--json                  Print JSON, one line of it.';

export function commandHelp(spec: CommandSpec): string {
  const flags = `${spec.modifies ? 'f' : ''}${spec.dryRun ? 'N' : ''}`;
  const lines = [...(spec.options === undefined ? [] : [spec.options]), ...(spec.json ? [JSON_HELP] : [])];
  const options = lines.length === 0 ? '' : `Options:\n\n${lines.join('\n')}\n`;
  const examples = spec.examples === undefined ? '' : `\nExamples:\n\n${spec.examples}\n`;
  return `Usage: xl [-vtT${flags}] ${spec.name} ${spec.usage}\n\n${spec.description}.\n\n${options}${examples}`;
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
