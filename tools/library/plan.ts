// A topology, as a file or as the object that such a file would hold -> its steps. Every failure is a XenError.

import { join, resolve } from 'node:path';
import { XenError } from '#pvbus';
import { readConfigFile } from '../config/read-config.ts';
import { ConfigError } from '../config/settings.ts';
import { planTopology, type Step } from '../topology/plan.ts';
import { readTopology, TopologyError } from '../topology/read-topology.ts';

/** Relative paths are relative to the file, or to the working directory where there is none. */
export function planOf(topology: string | object, warn: (line: string) => void): Step[] {
  const cwd = process.cwd();
  try {
    const parsed =
      typeof topology === 'string'
        ? readTopology(readConfigFile(topology, cwd).toString('utf8'), resolve(cwd, topology), topology)
        : readTopology(JSON.stringify(topology, null, 1), join(cwd, 'topology'), 'topology');
    const random = (bytes: number): Uint8Array => crypto.getRandomValues(new Uint8Array(bytes));
    return planTopology(parsed, { cwd, random, warn, readFile: path => readConfigFile(path, '/') });
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof TopologyError)) throw error;
    throw new XenError('EINVAL', error.message, error);
  }
}
