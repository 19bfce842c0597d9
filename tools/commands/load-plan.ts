// The topology file of a command line -> its plan.

import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { readConfigFile } from '../config/read-config.ts';
import { ConfigError } from '../config/settings.ts';
import { planTopology, type Step } from '../topology/plan.ts';
import { readTopology, type Topology, TopologyError } from '../topology/read-topology.ts';
import { type CommandContext, CommandFailure } from './command.ts';

export interface Plan {
  /** Absolute, symbolic links resolved. */
  readonly path: string;
  readonly topology: Topology;
  readonly steps: readonly Step[];
}

export function loadPlan(file: string, { io, err }: Pick<CommandContext, 'io' | 'err'>): Plan {
  try {
    const content = readConfigFile(file, io.cwd).toString('utf8');
    const path = realpathSync(resolve(io.cwd, file));
    const topology = readTopology(content, resolve(io.cwd, file), file);
    const readFile = (config: string): Uint8Array => readConfigFile(config, '/');
    return { path, topology, steps: planTopology(topology, { cwd: io.cwd, random: io.random, warn: err, readFile }) };
  } catch (error) {
    if (error instanceof ConfigError)
      throw new CommandFailure(error.message.replace('config file', 'topology file'), error.exitCode);
    if (error instanceof TopologyError) throw new CommandFailure(error.message);
    throw error;
  }
}
