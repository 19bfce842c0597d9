// The text of an xl.conf -> what it says, with xl's words for what is wrong in it.

import { isCpuMask } from './cpu-masks.ts';
import { parseConfig } from './parse.ts';
import { ConfigError, Settings } from './settings.ts';
import { DEFAULT_XL_CONF, type XlConf } from './xl-conf.ts';

const MAX_FRAMES = 0x7fff_ffff;
const VIF_DEFAULTS = ['bridge', 'script', 'gatewaydev', 'backend'] as const;
/** The names these keys had before xl.conf got its own. */
const RENAMED = { script: 'vifscript', bridge: 'defaultbridge' } as const;

/** Keys it does not name are nobody's; xl takes no notice of them either. */
export function parseXlConf(content: Uint8Array, source: string, warn: (line: string) => void): XlConf {
  const parsed = parseConfig(content, source);
  if (!parsed.ok) throw new ConfigError(`${parsed.report}Failed to parse config file: Invalid argument`);
  const settings = new Settings(parsed, warn);
  oneOf(settings, 'autoballoon', ['auto', 'on', '1', 'off', '0'], warn);
  oneOf(settings, 'domid_policy', ['xen', 'random'], warn);
  return {
    claim_mode: settings.boolean('claim_mode') ?? DEFAULT_XL_CONF.claim_mode,
    run_hotplug_scripts: settings.boolean('run_hotplug_scripts') ?? DEFAULT_XL_CONF.run_hotplug_scripts,
    output_format: outputFormat(settings, warn),
    vif: vifDefaults(settings, warn),
    max_grant_frames: frames(settings, 'max_grant_frames'),
    max_maptrack_frames: frames(settings, 'max_maptrack_frames'),
    cpumasks: ['vm.cpumask', 'vm.pv.cpumask'].flatMap(key => cpumask(settings, key, warn)),
  };
}

function outputFormat(settings: Settings, warn: (line: string) => void): XlConf['output_format'] {
  const value = settings.text('output_format') ?? 'json';
  if (value === 'json' || value === 'sxp') return value;
  warn(`invalid default output format "${value}"`);
  return 'json';
}

/** Without meaning here, but a value that no xl takes is worth its warning. */
function oneOf(settings: Settings, key: string, values: readonly string[], warn: (line: string) => void): void {
  if (!values.includes(settings.text(key) ?? values[0]!)) warn(`invalid ${key} option`);
}

function vifDefaults(settings: Settings, warn: (line: string) => void): XlConf['vif'] {
  const vif: { -readonly [K in keyof XlConf['vif']]: string } = {};
  for (const [key, old] of Object.entries(RENAMED) as ['script' | 'bridge', string][]) {
    const value = settings.text(old);
    if (value === undefined) continue;
    warn(`the global config option ${old} is deprecated, please switch to vif.default.${key}`);
    vif[key] = value;
  }
  for (const key of VIF_DEFAULTS) {
    const value = settings.text(`vif.default.${key}`);
    if (value !== undefined) vif[key] = value;
  }
  return vif;
}

function cpumask(settings: Settings, key: string, warn: (line: string) => void): string[] {
  const text = settings.text(key);
  if (text === undefined) return [];
  if (isCpuMask(text)) return [text];
  warn(`Invalid pcpu range: ${text}.`);
  return [];
}

function frames(settings: Settings, key: 'max_grant_frames' | 'max_maptrack_frames'): number | null {
  const n = settings.neededNumber(key);
  if (n === undefined) return null;
  if (n >= 0 && n <= MAX_FRAMES) return n;
  throw settings.wrong(key, `${key}=${n} is not between 0 and ${MAX_FRAMES}`);
}
