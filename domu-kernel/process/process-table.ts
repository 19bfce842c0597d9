// The processes of a guest, as a table.
import type { Process } from './process.ts';

const stateOf = (process: Process): string =>
  process.state === 'zombie'
    ? 'Z'
    : process.stopped
      ? 'T'
      : process.state === 'waits' && !process.elsewhere?.computes
        ? 'S'
        : 'R';
/** Control characters of arguments are not the terminal's to act upon. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that are taken out
const printable = (text: string): string => text.replace(/[\x00-\x1f\x7f]/g, '?');

export function processTable(processes: readonly Process[]): string {
  const row = (
    pid: string,
    ppid: string,
    pgid: string,
    state: string,
    psr: string,
    time: string,
    memory: string,
    command: string,
  ) =>
    `${pid.padStart(5)} ${ppid.padStart(5)} ${pgid.padStart(5)} ${state} ${psr.padStart(3)} ${time.padStart(9)} ${memory.padStart(9)} ${command}\n`;
  const rows = processes.map(process => {
    const { pid, parent, pgid, usedNs, elsewhere, memoryBytes, argv } = process;
    const time = (usedNs / 1e9).toFixed(2);
    const memory = `${Math.round(memoryBytes / 1024)}K`;
    const [state, vcpu] = [stateOf(process), `${elsewhere?.vcpu ?? 0}`];
    return row(`${pid}`, `${parent?.pid ?? 0}`, `${pgid}`, state, vcpu, time, memory, printable(argv.join(' ')));
  });
  return row('PID', 'PPID', 'PGID', 'S', 'PSR', 'TIME', 'MEMORY', 'COMMAND') + rows.join('');
}
