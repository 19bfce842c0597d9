// A topology -> the steps that bring it up, in order. Pure but for reading the xl.cfg files it names.

import { isAbsolute, resolve } from 'node:path';
import { type ConfigValue, type DomainConfig, type FaultPlan, messageOf, resolveBridgePort } from '#pvbus';
import type { Assignment, ParsedConfig } from '../config/parse.ts';
import { emptyPvcalls } from '../config/pvcalls-spec.ts';
import { keyPlaces, readConfig } from '../config/read-config.ts';
import { ConfigError } from '../config/settings.ts';
import { validateConfig } from '../config/validate.ts';
import { type Topology, TopologyError } from './read-topology.ts';
import type { BridgeSpec, DomainEntry, ImageSpec } from './schema.ts';
import { dotted } from './yaml-lines.ts';

export interface ImageStep extends Omit<ImageSpec, 'files'> {
  readonly kind: 'image';
  /** Absolute. */
  readonly path: string;
  /** As the topology has it, for messages. */
  readonly shown: string;
  /** Directory of the image -> absolute paths of the host. */
  readonly files: Readonly<Record<string, readonly string[]>>;
}
export interface BridgeStep extends BridgeSpec {
  readonly kind: 'bridge';
}
export interface DomainStep {
  readonly kind: 'domain';
  readonly config: DomainConfig;
  readonly paused: boolean;
  /** Where a key of the config is, for errors. */
  readonly at: (key: string) => string;
  /** Names of the domains that must be there before this one. */
  readonly after: readonly string[];
  /** 0 for a domain that needs no other; one more than the highest it needs. */
  readonly level: number;
}
/** They are there before any domain is. */
export interface FaultsStep {
  readonly kind: 'faults';
  readonly plan: FaultPlan;
}
export type Step = ImageStep | BridgeStep | FaultsStep | DomainStep;

export interface PlanOptions {
  /** What paths inside the xl.cfg files are relative to, as for `xl create`. */
  readonly cwd: string;
  readonly random: (bytes: number) => Uint8Array;
  readonly warn: (line: string) => void;
  /** Contents of an xl.cfg; throws ConfigError. */
  readonly readFile: (path: string) => Uint8Array;
}

/** Images first, then bridges, then domains, each behind those it needs. Throws TopologyError. */
export function planTopology(topology: Topology, options: PlanOptions): Step[] {
  const images = topology.images.map((image): ImageStep => imageStep(image, topology.dir));
  unique(topology, 'images', images, image => image.path);
  const bridges = topology.bridges.map((bridge, i): BridgeStep => bridgeStep(topology, bridge, i));
  unique(topology, 'bridges', bridges, bridge => bridge.name);
  const domains = Object.entries(topology.domains).map(([name, entry]) => ({
    ...{ entry, name },
    ...domainConfig(topology, name, entry, options),
  }));
  addHostPorts(topology, domains);
  const { faults } = topology;
  const plans: FaultsStep[] = faults === undefined ? [] : [{ kind: 'faults', plan: faults }];
  return [...images, ...bridges, ...plans, ...inOrder(topology, domains)];
}

interface Named {
  readonly name: string;
  readonly entry: DomainEntry;
  readonly config: DomainConfig;
  readonly at: (key: string) => string;
}

function imageStep(image: ImageSpec, dir: string): ImageStep {
  const files = Object.entries(image.files ?? {}).map(([to, from]) => [to, from.map(path => resolve(dir, path))]);
  return {
    kind: 'image',
    ...image,
    path: resolve(dir, image.path),
    shown: image.path,
    files: Object.fromEntries(files),
  };
}

function bridgeStep(topology: Topology, bridge: BridgeSpec, i: number): BridgeStep {
  const ports = bridge.ports.map((port, j) => {
    try {
      return resolveBridgePort(port, path => resolve(topology.dir, path));
    } catch (error) {
      throw problem(topology, ['bridges', i, 'ports', j], messageOf(error));
    }
  });
  return { kind: 'bridge', ...bridge, ports };
}

const problem = (topology: Topology, keys: readonly PropertyKey[], message: string): TopologyError =>
  new TopologyError(`${topology.file}:${topology.lineOf(keys)}: ${dotted(keys)}: ${message}`);

function unique<T>(topology: Topology, list: string, items: readonly T[], id: (item: T) => string): void {
  const seen = new Set<string>();
  for (const [i, item] of items.entries()) {
    if (seen.has(id(item))) throw problem(topology, [list, i], `${id(item)} is there twice`);
    seen.add(id(item));
  }
}

function domainConfig(
  topology: Topology,
  name: string,
  entry: DomainEntry,
  options: PlanOptions,
): Pick<Named, 'config' | 'at'> {
  const keys = ['domains', name];
  const complain = (line: string): void => options.warn(`${topology.file}: domain ${name}: ${line}`);
  const { random } = options;
  try {
    if (entry.config === undefined) {
      const how = { cwd: topology.dir, random, warn: complain, strict: true };
      const config = validateConfig(inlineConfig(topology, name, entry), how);
      return { config, at: key => `${topology.file}:${topology.lineOf([...keys, key])}: ${dotted(keys)}` };
    }
    const path = isAbsolute(entry.config) ? entry.config : resolve(topology.dir, entry.config);
    const content = options.readFile(path);
    const config = readConfig(content, path, [], { cwd: options.cwd, random, warn: complain });
    if (config.name === name) return { config, at: keyPlaces(content, path, []) };
    throw new ConfigError(`${entry.config} says name="${config.name}", the topology calls it ${name}`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw keyProblem(topology, keys, entry.config, error);
  }
}

/** One line for each of the error's. What it says of file and line itself is not said twice. */
function keyProblem(
  topology: Topology,
  domain: readonly string[],
  config: string | undefined,
  { message, where }: ConfigError,
): TopologyError {
  const said = [`${where?.at}: `, `${config ?? topology.file}: `];
  const keys = config === undefined ? [...domain, ...(where?.keys ?? [])] : domain;
  const place = config === undefined || where === null ? '' : said[0];
  const lines = message.split('\n').map(line => {
    const rest = line.slice(said.find(prefix => line.startsWith(prefix))?.length ?? 0);
    return problem(topology, keys, `${place}${rest}`).message;
  });
  return new TopologyError(lines.join('\n'));
}

/** Keys of YAML as if an xl.cfg had assigned them, so that they are checked by the same rules. */
function inlineConfig(topology: Topology, name: string, entry: DomainEntry): ParsedConfig {
  const assignments = Object.entries({ name, ...entry.keys }).map(
    ([key, value]): Assignment => ({
      ...{ name: key, op: '=', value: configValue(value) },
      line: topology.lineOf(['domains', name, key]),
    }),
  );
  return { source: topology.file, ok: true, assignments, report: '' };
}

type YamlValue = DomainEntry['keys'][string];

const configValue = (value: YamlValue): ConfigValue =>
  Array.isArray(value) ? value.map(configValue) : typeof value === 'boolean' ? String(Number(value)) : String(value);

/** `host_ports` are listens of the domain's first pvcalls device. */
function addHostPorts(topology: Topology, domains: readonly Named[]): void {
  for (const [i, { host, domain, guest }] of topology.host_ports.entries()) {
    const config = domains.find(({ name }) => name === domain)?.config;
    if (config === undefined) throw problem(topology, ['host_ports', i], `there is no domain ${domain}`);
    if (config.pvcalls.length === 0) config.pvcalls.push(emptyPvcalls(0));
    config.pvcalls[0]!.listen.push({ host, guest });
  }
  const users = new Map<number, string>();
  for (const { name, config } of domains) {
    for (const { host } of config.pvcalls.flatMap(({ listen }) => listen)) {
      const other = users.get(host);
      if (host !== 0 && other !== undefined) {
        throw problem(
          topology,
          ['domains', name],
          `host port ${host} is ${other === name ? 'its' : `${other}'s`} already`,
        );
      }
      users.set(host, name);
    }
  }
}

/** The order of the file, except that a domain comes behind those it needs. */
function inOrder(topology: Topology, domains: readonly Named[]): DomainStep[] {
  const byName = new Map(domains.map(domain => [domain.name, domain]));
  const done = new Map<string, DomainStep>();
  const visit = (domain: Named, path: readonly string[]): DomainStep => {
    const { name, entry, config, at } = domain;
    const known = done.get(name);
    if (known !== undefined) return known;
    if (path.includes(name)) {
      const cycle = [...path.slice(path.indexOf(name)), name].join(' after ');
      throw problem(topology, ['domains', name, 'after'], `it waits for itself: ${cycle}`);
    }
    const needs = entry.after.map(other => {
      const found = byName.get(other);
      if (found === undefined) throw problem(topology, ['domains', name, 'after'], `there is no domain ${other}`);
      return found;
    });
    // A backend in another domain of this file must be there first, whether or not the file says so.
    for (const { backend } of [...config.disks, ...config.vifs, ...config.pvcalls]) {
      const found = backend === null ? undefined : byName.get(backend);
      if (found !== undefined && !needs.includes(found)) needs.push(found);
    }
    const before = needs.map(other => visit(other, [...path, name]));
    const level = Math.max(-1, ...before.map(step => step.level)) + 1;
    const after = needs.map(other => other.name);
    const step: DomainStep = { kind: 'domain', config, at, paused: entry.paused, after, level };
    done.set(name, step);
    return step;
  };
  for (const domain of domains) visit(domain, []);
  return [...done.values()];
}

/** One line a step, for `xl up -n`. */
export function describeStep(step: Step): string {
  if (step.kind === 'image') return `image ${step.shown} (${step.format}, ${sizeText(step.size)})`;
  if (step.kind === 'bridge') return [`bridge ${step.name}`, ...step.ports].join(' ');
  if (step.kind === 'faults') return `faults of plan ${step.plan.name}: ${step.plan.faults.length}`;
  const after = step.after.length === 0 ? '' : ` after ${step.after.join(', ')}`;
  return `domain ${step.config.name}${after}${step.paused ? ', paused' : ''}`;
}

export function sizeText(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; bytes >= 1024 && bytes % 1024 === 0 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${bytes} ${units[unit]}`;
}
