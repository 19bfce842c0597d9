// Log lines, passed in like time. One call is one line.

import type { Clock } from './clock.ts';

export interface Log {
  info(line: string): void;
  warn(line: string): void;
  error(line: string): void;
}

/**
 * Write `prefix: line` to `stream`; with a clock, the wall time comes first. Control characters are
 * escaped: a line may quote a guest, and a guest must not be able to forge lines or drive a terminal.
 */
export function streamLog(stream: { write(text: string): unknown }, prefix: string, clock?: Clock): Log {
  const write = (level: string, line: string): void => {
    const time = clock ? `${new Date(clock.wallMs()).toISOString()} ` : '';
    stream.write(`${time}${prefix}: ${level}${escapeControls(line)}\n`);
  };
  return {
    info: line => write('', line),
    warn: line => write('warning: ', line),
    error: line => write('error: ', line),
  };
}

/** Of a line that may quote a guest. */
export function escapeControls(line: string): string {
  return line.replace(/\p{Cc}/gu, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
