// /etc/xen/xl.conf: what a host's administrator says for every call of xl. Xen: xl.conf(5).

import { readFileSync } from 'node:fs';
import type { VifConfig } from '#pvbus';

export const XL_CONF = '/etc/xen/xl.conf';

/** The keys that mean something here, each as it is where the file has none. */
export interface XlConf {
  readonly claim_mode: boolean;
  /** Shown by a dry run. */
  readonly run_hotplug_scripts: boolean;
  readonly output_format: 'json' | 'sxp';
  /** What a vif has whose specification says nothing of it. */
  readonly vif: Partial<Pick<VifConfig, 'bridge' | 'script' | 'gatewaydev' | 'backend'>>;
  readonly max_grant_frames: number | null;
  readonly max_maptrack_frames: number | null;
  /** The pCPUs that guests may run on, as in `cpus`: vm.cpumask and vm.pv.cpumask, both of which apply. */
  readonly cpumasks: readonly string[];
}

export const DEFAULT_XL_CONF: XlConf = {
  claim_mode: true,
  run_hotplug_scripts: true,
  output_format: 'json',
  vif: {},
  max_grant_frames: null,
  max_maptrack_frames: null,
  cpumasks: [],
};

/**
 * Read at every start of xl, so the parser is loaded only for a file that says something. A host without the file is
 * one with the defaults. `warn` takes lines for stderr; throws ConfigError for what ends every call of xl.
 */
export async function readXlConf(path: string, warn: (line: string) => void): Promise<XlConf> {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') warn(`Failed to read config file: ${path}: ${message}`);
    return DEFAULT_XL_CONF;
  }
  if (/^(?:[ \t]*(?:#.*)?\n)*$/.test(content.toString('latin1'))) return DEFAULT_XL_CONF;
  const { parseXlConf } = await import('./parse-xl-conf.ts');
  return parseXlConf(content, path, warn);
}
