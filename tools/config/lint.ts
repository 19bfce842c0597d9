// What is wrong, or has no effect, in an xl.cfg: `xl lint`. The real xl says nothing of most of it.

import type { ConfigValue } from '#pvbus';
import { parseCpuRange } from '#pvbus';
import { readDisk, readVif } from './device-config.ts';
import { meaninglessKeys, XL_KEYS } from './keys.ts';
import { effectiveValues, type ParsedConfig } from './parse.ts';
import { ConfigError } from './settings.ts';
import { validateConfig } from './validate.ts';

/** Findings in the order of the file; none: there is nothing to say. */
export function lint(parsed: ParsedConfig): string[] {
  if (!parsed.ok) return parsed.report.trimEnd().split('\n');
  const values = effectiveValues(parsed);
  const line = (key: string): number => parsed.assignments.findLast(({ name }) => name === key)?.line ?? 0;
  const found: { line: number; text: string }[] = [];
  const say = (key: string, text: string): void => void found.push({ line: line(key), text });
  for (const key of values.keys()) {
    if (XL_KEYS.has(key)) continue;
    const near = nearest(key);
    say(key, `unknown key \`${key}'${near === undefined ? '' : `, did you mean \`${near}'?`}`);
  }
  for (const key of meaninglessKeys(values.keys())) say(key, `\`${key}' has no meaning here`);
  for (const key of ['disk', 'vif'] as const) for (const text of specFaults(key, values.get(key))) say(key, text);
  for (const key of ['cpus', 'cpus_soft'] as const) for (const text of cpuFaults(key, values.get(key))) say(key, text);
  for (const { at, text } of wrongTypes(parsed)) found.push({ line: at, text });
  const all = found.map((finding, i) => ({ ...finding, i })).sort((a, b) => a.line - b.line || a.i - b.i);
  return [...new Set(all.map(({ line: at, text }) => `${parsed.source}:${at}: ${text}`))];
}

function specFaults(key: 'disk' | 'vif', value: ConfigValue | undefined): string[] {
  const faults: string[] = [];
  for (const [i, spec] of (Array.isArray(value) ? value : []).entries()) {
    if (typeof spec !== 'string') continue; // of the wrong type, which is told elsewhere
    try {
      if (key === 'disk') readDisk(spec, `\`${key}'`, path => path);
      else readVif(spec, i, null, warning => faults.push(`\`${key}': ${warning}`));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      faults.push(...error.message.split('\n').map(text => (text.startsWith('`') ? text : `\`${key}': ${text}`)));
    }
  }
  return faults;
}

/** More than any machine has: whether this one has so many is not the file's fault. */
const MANY_CPUS = 4096;
function cpuFaults(key: string, value: ConfigValue | undefined): string[] {
  const ranges = value === undefined ? [] : Array.isArray(value) ? value : [value];
  return ranges.flatMap(range => {
    if (typeof range !== 'string') return [];
    try {
      parseCpuRange(range, MANY_CPUS);
      return [];
    } catch (error) {
      return [`\`${key}': ${error instanceof Error ? error.message : error}`];
    }
  });
}

/** What the reader of the whole file complains of: types, and values that no domain can have. */
function wrongTypes(parsed: ParsedConfig): { at: number; text: string }[] {
  const found: { at: number; text: string }[] = [];
  const lineOf = (key: string): number => parsed.assignments.findLast(({ name }) => name === key)?.line ?? 0;
  const hear = (message: string, key = ''): void => {
    if (/without meaning here/.test(message)) return; // each of them is told by itself
    const rest = message.startsWith(`${parsed.source}:`) ? message.slice(parsed.source.length + 1) : message;
    const [, number, text] = /^([0-9]+): (?:warning: )?(.*)$/s.exec(rest) ?? [];
    found.push({ at: Number(number ?? lineOf(key)), text: (text ?? rest).trim() });
  };
  try {
    // Devices were looked at one by one.
    const assignments = parsed.assignments.filter(({ name }) => !['disk', 'vif'].includes(name));
    validateConfig({ ...parsed, assignments }, { cwd: '/', random: n => new Uint8Array(n), warn: hear });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    hear(error.message, error.where?.keys[0]);
  }
  return found;
}

/** The key that takes fewest letters to be `key`; undefined when none is like it. */
function nearest(key: string): string | undefined {
  let best: string | undefined;
  let least = Math.max(1, Math.floor(key.length / 3)) + 1;
  for (const known of XL_KEYS) {
    const steps = distance(key, known);
    if (steps < least) [best, least] = [known, steps];
  }
  return best;
}
/** Letters put in, taken out or changed. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1]));
    }
    row = next;
  }
  return row[b.length]!;
}
