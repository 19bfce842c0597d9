// What `xl create -n` prints: the config as its file has it, before libxl fills anything in.

import { effectiveValues, parseConfig } from './config/parse.ts';
import { readConfig, withAssignments } from './config/read-config.ts';
import { parseNumber } from './config/settings.ts';
import type { ValidateOptions } from './config/validate.ts';
import { DEFAULT_XL_CONF } from './config/xl-conf.ts';
import { libxlConfig } from './libxl-json.ts';
import { libxlSxp } from './libxl-sxp.ts';
import { yajl } from './yajl.ts';

/** Throws ConfigError, as `readConfig` does. `uuid`: of the domain that is made of this config all the same. */
export function dryRun(
  content: Uint8Array,
  source: string,
  assignments: readonly string[],
  options: ValidateOptions,
  uuid?: string,
): string {
  const read = readConfig(content, source, assignments, { ...options, asGiven: true });
  const config = { ...read, uuid: uuid ?? read.uuid };
  const values = effectiveValues(parseConfig(withAssignments(content, assignments), source));
  const text = (key: string): string | undefined => {
    const value = values.get(key);
    return typeof value === 'string' ? value : undefined;
  };
  const number = (key: string): number | undefined => parseNumber(text(key) ?? '');
  const conf = options.conf ?? DEFAULT_XL_CONF;
  const given = { conf, text, number };
  if (conf.output_format === 'sxp') return libxlSxp(null, null, config, given);
  return yajl(libxlConfig(config, null, given));
}
