// A toolstack without a host: it keeps a table of domains and speaks the real protocol on a real socket,
// so that the tools can be tested alone. Nothing runs in its domains. What a test wants to go wrong it says
// in `failures`; what it wants to happen to a domain it calls `end` for.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Cpupool,
  checkRequest,
  type DeviceCounters,
  type DomainConfig,
  type DomainEnd,
  type DomainEvent,
  type DomainInfo,
  type DomainShares,
  type DomainVcpus,
  encodeFrame,
  type FaultPlan,
  FrameDecoder,
  type HostInfo,
  makeRunDir,
  requestId,
  runPaths,
  type ToolstackError,
  type ToolstackOp,
  type ToolstackReply,
  type ToolstackRequest,
  TopologyNotes,
  XenError,
} from '#pvbus';

export interface FakeDomain extends DomainInfo {
  config: DomainConfig | null;
  console: Server | null;
}

const DOM0: FakeDomain = {
  ...{
    domid: 0,
    name: 'Domain-0',
    uuid: '00000000-0000-0000-0000-000000000000',
    current_kb: 512 * 1024,
    outstanding_kb: 0,
  },
  ...{ max_kb: 512 * 1024, vcpu_online: 2, vcpu_max_id: 1, cpu_time: 1.1e9, running: true, blocked: false },
  ...{ paused: false, shutdown: false, dying: false, shutdown_reason: null, cpupool: 'Pool-0', ssid_label: null },
  ...{ config: null, console: null },
};

export const HOST_INFO: HostInfo = {
  ...{ nr_cpus: 2, max_cpu_id: 1, nr_nodes: 1, cores_per_socket: 1, threads_per_core: 2, cpu_khz: 2_400_012 },
  ...{ hw_caps: [0xbfebfbff, 0x77faf3ff, 0x2c100800, 0x121, 0xf, 0xd39ffffb, 0x8, 0x100], virt_caps: ['pv'] },
  ...{ total_memory: 8192, free_memory: 7000, sharing_freed_memory: 0, sharing_used_memory: 0 },
  ...{ outstanding_claims: 0, free_cpus: 0, xen_major: 4, xen_minor: 17, xen_extra: '.x', xen_caps: 'xen-3.0-x86_64' },
  ...{ xen_scheduler: 'credit2', xen_pagesize: 4096, virt_start: 0xffff_8000, xen_changeset: '', xen_commandline: '' },
  ...{ cc_compiler: 'node', cc_compile_by: 'me', cc_compile_domain: '', cc_compile_date: 'today', build_id: 'abc' },
  process_memory: 360,
  confinement: ['no_new_privs', 'limits'],
};

interface Peer {
  readonly socket: Socket;
  readonly decoder: FrameDecoder;
  readonly subscriptions: number[];
}
interface Wait {
  readonly peer: Peer;
  readonly id: number;
  readonly domid: number;
  readonly until: 'shutdown' | 'destroyed';
}

export class FakeToolstack {
  readonly dir: string;
  readonly domains = new Map<number, FakeDomain>([[0, { ...DOM0 }]]);
  plans: FaultPlan[] = [];
  readonly bridges = new Set<string>();
  bridgePorts: string[] = [];
  /** Every request that came, in order. */
  readonly requests: ToolstackRequest[] = [];
  /** The next request of an op fails like this, and each later one too. */
  readonly failures = new Map<ToolstackOp, ToolstackError>();
  /** A domain of this name is there when its promise is kept, and not before. */
  readonly slow = new Map<string, Promise<void>>();
  /** Of the requests of all tools together, how many were unanswered at once. */
  mostAtOnce = 0;
  #unanswered = 0;
  /** What `xl dmesg` reads. */
  messages = '(XEN) hello\n';
  /** What the commands about processors are told, as it is here; what they change is in `requests`. */
  readonly processors = {
    vcpus: [] as DomainVcpus[],
    shares: [] as DomainShares[],
    pools: [] as Cpupool[],
    free: [] as number[],
    nr_cpus: 4,
  };
  /** What dom0's backends are said to have counted. */
  counters: DeviceCounters[] = [];
  readonly history: DomainEvent[] = [];
  readonly topologies = new TopologyNotes();
  /** By domid. */
  readonly restarts = new Map<number, number>();
  /** What guests do when asked to shut down: end at once, or nothing. */
  obedient = true;
  /** Called after the reply to shutdownHost. */
  onShutdownHost = (): void => {};
  readonly #ownDir: boolean;
  #nextDomid = 1;
  readonly #server: Server;
  readonly #peers = new Set<Peer>();
  #waits: Wait[] = [];

  private constructor(dir: string, ownDir: boolean) {
    this.dir = dir;
    this.#ownDir = ownDir;
    this.#server = createServer(socket => this.#accept(socket));
  }

  /** In a run directory of its own, or in `dir`, which it then leaves alone. */
  static async start(given?: string): Promise<FakeToolstack> {
    const dir = given ?? mkdtempSync(join(tmpdir(), 'xl-fake-'));
    makeRunDir(dir);
    const fake = new FakeToolstack(dir, given === undefined);
    await new Promise<void>(resolve => fake.#server.listen(runPaths(dir).toolstackSocket, resolve));
    return fake;
  }

  /** Every tool loses its connection. */
  hangUp(): void {
    for (const { socket } of this.#peers) socket.destroy();
  }
  async stop(): Promise<void> {
    this.hangUp();
    for (const { console } of this.domains.values()) console?.close();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
    if (this.#ownDir) rmSync(this.dir, { recursive: true, force: true });
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#peers.size;
  }

  add(info: Partial<FakeDomain> & { domid: number; name: string | null }): FakeDomain {
    const domain = {
      ...{ ...DOM0, running: false, vcpu_online: 1, cpu_time: 0 },
      ...info,
    };
    this.domains.set(domain.domid, domain);
    this.#nextDomid = Math.max(this.#nextDomid, domain.domid + 1);
    return domain;
  }

  /** The domain shuts down for `reason`, or is gone. */
  end(domid: number, what: DomainEnd['what'], reason: number | null = null): void {
    const domain = this.domains.get(domid);
    if (domain === undefined) throw new Error(`no dom${domid}`);
    Object.assign(domain, { shutdown: true, running: false, shutdown_reason: reason });
    if (what === 'destroyed') {
      domain.console?.close();
      this.domains.delete(domid);
    }
    this.#tell(what, domid, domain.name, reason);
    const over = this.#waits.filter(wait => wait.domid === domid && (what === 'destroyed' || wait.until === what));
    this.#waits = this.#waits.filter(wait => !over.includes(wait));
    for (const { peer, id } of over)
      this.#send(peer, { id, result: { what, reason, exitCode: null } satisfies DomainEnd });
  }

  /** A console that answers each line in upper case; the guest's first line is there already. */
  async serveConsole(domid: number, firstLine: string, onSocket: (socket: Socket) => void = () => {}): Promise<void> {
    const domain = this.domains.get(domid);
    if (domain === undefined) throw new Error(`no dom${domid}`);
    const sockets = new Set<Socket>();
    const server = createServer(socket => {
      sockets.add(socket);
      socket.on('error', () => {}); // the attached tool may go at any time
      socket.on('close', () => sockets.delete(socket));
      socket.write(firstLine);
      socket.on('data', bytes => socket.write(bytes.toString().toUpperCase()));
      onSocket(socket);
    });
    server.on('close', () => {});
    const close = server.close.bind(server);
    server.close = callback => {
      for (const socket of sockets) socket.end();
      return close(callback);
    };
    await new Promise<void>(resolve => server.listen(runPaths(this.dir).consoleSocket(domid), resolve));
    domain.console = server;
  }

  #accept(socket: Socket): void {
    const peer: Peer = { socket, decoder: new FrameDecoder(), subscriptions: [] };
    this.#peers.add(peer);
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      this.#peers.delete(peer);
      this.#waits = this.#waits.filter(wait => wait.peer !== peer);
    });
    socket.on('data', bytes => {
      for (const message of peer.decoder.push(bytes)) this.#hear(peer, message);
    });
  }

  #hear(peer: Peer, message: unknown): void {
    const id = requestId(message) ?? 0;
    try {
      const request = checkRequest(message);
      this.requests.push(request);
      this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#unanswered);
      const failure = this.failures.get(request.op);
      if (failure !== undefined) this.#send(peer, { id, error: failure });
      else this.#act(peer, request);
    } catch (error) {
      const code = error instanceof XenError ? error.code : 'EIO';
      this.#send(peer, { id, error: { code, message: (error as Error).message, rc: -3 } });
    }
  }

  #act(peer: Peer, request: ToolstackRequest): unknown {
    const { id, op, args } = request;
    const reply = (result: unknown = null): void => this.#send(peer, { id, result });
    const domain = (domid: number): FakeDomain => {
      const found = this.domains.get(domid);
      if (found === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
      return found;
    };
    switch (op) {
      case 'create': {
        const { config, paused } = args;
        const slow = this.slow.get(config.name);
        if (slow !== undefined) {
          this.slow.delete(config.name);
          return slow.then(() => this.#act(peer, request));
        }
        for (const { name } of this.domains.values()) {
          if (name === config.name) throw new XenError('EEXIST', `name: '${config.name}' is in use`);
        }
        for (const [i, phase] of ['domain', 'memory', 'devices'].entries()) {
          this.#send(peer, { id, event: { event: 'phase', phase, ms: 1.25 + i } });
        }
        const { name, uuid, vcpus, memory, maxmem } = config;
        const domid = this.#nextDomid;
        const sizes = { current_kb: memory * 1024, max_kb: maxmem * 1024, vcpu_online: vcpus };
        this.add({ domid, name, uuid, ...sizes, paused, blocked: !paused, config });
        this.#tell('created', domid, name, null);
        return reply({ domid });
      }
      case 'destroy':
        this.end(domain(args.domid).domid, 'destroyed');
        return reply();
      case 'pause':
      case 'unpause':
        Object.assign(domain(args.domid), { paused: op === 'pause', blocked: op === 'unpause' });
        return reply();
      case 'shutdown':
      case 'reboot':
        domain(args.domid);
        reply();
        if (this.obedient) this.end(args.domid, 'shutdown', op === 'reboot' ? 1 : 0);
        return;
      case 'list': {
        const all = args.domid === null ? [...this.domains.values()] : [domain(args.domid)];
        return reply(all.map(({ config: _config, console: _console, ...info }) => info));
      }
      case 'config':
        return reply(domain(args.domid).config);
      case 'info':
        return reply(HOST_INFO);
      case 'dmesg':
        reply({ text: this.messages });
        if (args.clear) this.messages = '';
        return;
      case 'debugKeys':
        this.messages += [...args.keys].map(key => `(XEN) '${key}' pressed\n`).join('');
        return reply();
      case 'domid': {
        const found = [...this.domains.values()].find(({ name }) => name === args.name);
        if (found === undefined) throw new XenError('ENOENT', `there is no domain '${args.name}'`);
        return reply({ domid: found.domid });
      }
      case 'domname':
        return reply({ name: domain(args.domid).name ?? '' });
      case 'rename': {
        for (const { name } of this.domains.values()) {
          if (name === args.name) throw new XenError('EEXIST', `name: a domain '${name}' exists already`);
        }
        domain(args.domid).name = args.name;
        return reply();
      }
      case 'setVcpus': {
        const found = domain(args.domid);
        const max = found.vcpu_max_id + 1;
        if (args.count > max) throw new XenError('ERANGE', `Requested ${args.count} VCPUs, however maxcpus is ${max}!`);
        found.vcpu_online = args.count;
        if (found.config !== null) found.config = { ...found.config, vcpus: args.count };
        return reply();
      }
      case 'setMemoryTarget':
      case 'setMaxMemory': {
        const found = domain(args.domid);
        if (op === 'setMaxMemory') found.max_kb = args.kib;
        else if (args.kib <= found.max_kb) found.current_kb = args.kib;
        else throw new XenError('EINVAL', 'memory_dynamic_max must be less than or equal to memory_static_max');
        const mib = { [op === 'setMaxMemory' ? 'maxmem' : 'memory']: args.kib / 1024 };
        if (found.config !== null) found.config = { ...found.config, ...mib };
        return reply();
      }
      case 'dumpCore':
        domain(args.domid);
        return reply();
      case 'updateConfig': {
        const { config } = domain(args.domid);
        if (config !== null) domain(args.domid).config = { ...args.config, name: config.name, uuid: config.uuid };
        return reply();
      }
      case 'console':
        if (domain(args.domid).console === null) throw new XenError('ENOENT', `dom${args.domid} has no console`);
        return reply({ path: runPaths(this.dir).consoleSocket(args.domid) });
      case 'attachDisk': {
        const { config } = domain(args.domid);
        config?.disks.push(args.disk);
        return reply();
      }
      case 'attachVif': {
        const { config } = domain(args.domid);
        const devid = args.anyDevid ? (config?.vifs.length ?? 0) : args.vif.devid;
        config?.vifs.push({ ...args.vif, devid });
        return reply({ devid });
      }
      case 'detach': {
        const list = args.type === 'vbd' ? domain(args.domid).config?.disks : domain(args.domid).config?.vifs;
        const at = list?.findIndex(({ devid }) => devid === args.devid) ?? -1;
        if (at < 0) throw new XenError('ENOENT', `dom${args.domid} has no ${args.type} ${args.devid}`);
        list!.splice(at, 1);
        return reply();
      }
      case 'wait': {
        const found = this.domains.get(args.domid);
        if (found === undefined) return reply({ what: 'destroyed', reason: null, exitCode: null });
        if (args.until === 'shutdown' && found.shutdown) {
          return reply({ what: 'shutdown', reason: found.shutdown_reason, exitCode: null });
        }
        this.#waits.push({ peer, id, ...args });
        return;
      }
      case 'trace':
        return reply({ cpus: 2, since: 0 });
      case 'subscribe':
        peer.subscriptions.push(id);
        return reply();
      case 'addFaults':
      case 'runFaults':
        this.plans.push(args.plan);
        return reply();
      case 'removeFaults':
        this.plans = this.plans.filter(({ name }) => args.plan !== null && name !== args.plan);
        return reply([]);
      case 'faults':
        return reply([]);
      case 'createBridge':
        this.bridges.add(args.name);
        return reply();
      case 'deleteBridge':
        if (!this.bridges.delete(args.name)) throw new XenError('ENOENT', `there is no bridge '${args.name}'`);
        return reply();
      case 'bridges':
        return reply([...this.bridges].map(name => ({ name, mtu: 1500, ports: [], vifs: [] })));
      case 'addBridgePort':
        this.bridgePorts.push(`${args.bridge} ${args.port}`);
        return reply();
      case 'removeBridgePort':
        this.bridgePorts = this.bridgePorts.filter(one => one !== `${args.bridge} ${args.port}`);
        return reply();
      case 'capture':
        return reply({ capture: 1 });
      case 'endCapture':
        return reply();
      case 'vcpus':
      case 'shares': {
        if (args.domid !== null) domain(args.domid);
        const all: readonly { domid: number }[] = this.processors[op];
        return reply(all.filter(({ domid }) => args.domid === null || domid === args.domid));
      }
      case 'cpupools': {
        const { pools, free, nr_cpus } = this.processors;
        return reply({ pools, free, nr_cpus });
      }
      case 'createPool':
        return reply({ id: this.processors.pools.length });
      case 'pinVcpu':
      case 'setCredit':
      case 'setRtds':
      case 'setPoolParams':
      case 'destroyPool':
      case 'renamePool':
      case 'addPoolCpu':
      case 'removePoolCpu':
      case 'moveToPool':
        return reply();
      case 'counters':
        return reply(this.counters);
      case 'topologies':
        return reply(this.topologies.all());
      case 'noteTopology':
        this.topologies.set(args);
        return reply();
      case 'history':
        return reply({ events: this.history, next: null });
      case 'restarts':
        return reply([...this.restarts].map(([domid, restarts]) => ({ domid, restarts })));
      case 'shutdownHost':
        for (const domid of [...this.domains.keys()]) if (domid !== 0) this.end(domid, 'destroyed');
        reply();
        for (const { socket } of this.#peers) socket.end();
        this.onShutdownHost();
        return;
    }
  }

  #tell(what: DomainEvent['what'], domid: number, name: string | null, reason: number | null): void {
    const at = 1e12 + this.history.length;
    const event: DomainEvent = { event: 'domain', at, what, domid, name, reason, exitCode: null };
    this.history.push(event);
    for (const peer of this.#peers) for (const id of peer.subscriptions) this.#send(peer, { id, event });
  }

  #send(peer: Peer, reply: ToolstackReply): void {
    if (!('event' in reply)) this.#unanswered--;
    peer.socket.write(encodeFrame(reply));
  }
}
