// What a graph shows: domains, and the disks, bridges and host ports they reach, and who serves those.

import type { DomainConfig } from '#pvbus';
import { stateWord } from '../domain-state.ts';
import type { DomainState } from '../host-state.ts';

export interface GraphNode {
  /** `domain:web`, `disk:/srv/www.img`, `bridge:office`, `port:8080`. */
  readonly id: string;
  readonly kind: 'domain' | 'bridge' | 'disk' | 'port';
  readonly label: string;
  readonly detail: string;
  /** Of a domain; null where nothing runs. */
  readonly state: string | null;
}

export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
  /** Of a device; null where nothing runs. */
  readonly state: string | null;
}

export interface Graph {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

export interface GraphSource {
  /** Of a topology, in its order; null for all that run. */
  readonly wanted: readonly DomainConfig[] | null;
  readonly bridges: readonly string[];
  /** null: no host runs. */
  readonly live: readonly { readonly domain: DomainState; readonly config: DomainConfig | null }[] | null;
}

const DOM0 = 'Domain-0';

export function buildGraph({ wanted, bridges, live }: GraphSource): Graph {
  const builder = new GraphBuilder(live);
  for (const name of bridges) builder.resource('bridge', name, name);
  if (wanted !== null) for (const config of wanted) builder.domain(config.name, config);
  else
    for (const { domain, config } of live ?? [])
      if (domain.info.name !== null) builder.domain(domain.info.name, config);
  return builder.graph();
}

class GraphBuilder {
  readonly #nodes = new Map<string, GraphNode>();
  readonly #edges = new Map<string, GraphEdge>();
  readonly #live: GraphSource['live'];

  constructor(live: GraphSource['live']) {
    this.#live = live;
  }

  graph(): Graph {
    return { nodes: [...this.#nodes.values()], edges: [...this.#edges.values()] };
  }

  resource(kind: 'bridge' | 'disk' | 'port', name: string, label: string, detail = ''): string {
    const id = `${kind}:${name}`;
    if (!this.#nodes.has(id)) this.#nodes.set(id, { id, kind, label, detail, state: null });
    return id;
  }

  domain(name: string, config: DomainConfig | null): string {
    const id = `domain:${name}`;
    if (this.#nodes.has(id)) return id;
    const found = this.#live?.find(({ domain }) => domain.info.name === name)?.domain;
    const info = found?.info;
    const memory = info === undefined ? config?.memory : Math.floor(info.current_kb / 1024);
    const vcpus = info?.vcpu_online ?? config?.vcpus;
    const parts = [
      info && `domid ${info.domid}`,
      memory && `${memory} MiB`,
      vcpus && `${vcpus} vcpu${vcpus > 1 ? 's' : ''}`,
    ];
    const state = this.#live === null ? null : info === undefined ? 'absent' : stateWord(info);
    this.#nodes.set(id, { id, kind: 'domain', label: name, detail: parts.filter(Boolean).join(', '), state });
    if (found !== undefined) this.#liveDevices(id, found);
    else if (config !== null) this.#plannedDevices(id, config);
    for (const { host, guest } of config?.pvcalls.flatMap(({ listen }) => listen) ?? []) {
      const port = this.resource('port', String(host), `port ${host}`, '127.0.0.1');
      this.#edge(id, port, `listens on ${guest}`, null);
    }
    return id;
  }

  #liveDevices(id: string, { devices }: DomainState): void {
    for (const { type, name, state, backendDomid, target, writable, bridge, eventChannel } of devices) {
      const channel = eventChannel === null ? '' : `, port ${eventChannel}`;
      const backend = this.#live?.find(({ domain }) => domain.info.domid === backendDomid)?.domain.info.name;
      if (type === 'vbd') this.#disk(id, name, target ?? '?', writable === true, backend ?? null, channel, state);
      if (type === 'vif' && bridge !== null) this.#vif(id, name, bridge, backend ?? null, channel, state);
    }
  }
  #plannedDevices(id: string, { disks, vifs }: DomainConfig): void {
    const state = this.#live === null ? null : 'absent';
    for (const { vdev, target, readwrite, backend } of disks)
      this.#disk(id, vdev, target, readwrite, backend, '', state);
    for (const { devid, bridge, backend } of vifs) this.#vif(id, `vif${devid}`, bridge ?? 'xenbr0', backend, '', state);
  }

  #disk(
    id: string,
    name: string,
    target: string,
    writable: boolean,
    backend: string | null,
    channel: string,
    state: string | null,
  ): void {
    const disk = this.resource('disk', target, target.split('/').at(-1) || target, target);
    this.#edge(id, disk, `${name} ${writable ? 'rw' : 'ro'}${channel}`, state);
    this.#edge(disk, this.#backend(backend), 'blkback', null);
  }
  #vif(id: string, name: string, bridge: string, backend: string | null, channel: string, state: string | null): void {
    const node = this.resource('bridge', bridge, bridge);
    this.#edge(id, node, `${name}${channel}`, state);
    this.#edge(node, this.#backend(backend), 'netback', null);
  }
  /** Also of a number: a driver domain may be given by its domid. */
  #backend(name: string | null): string {
    const known = this.#live?.find(({ domain }) => String(domain.info.domid) === name)?.domain.info.name;
    const id = `domain:${known ?? name ?? DOM0}`;
    if (!this.#nodes.has(id)) this.domain(known ?? name ?? DOM0, null);
    return id;
  }
  #edge(from: string, to: string, label: string, state: string | null): void {
    this.#edges.set(`${from}\n${to}\n${label}`, { from, to, label, state });
  }
}
