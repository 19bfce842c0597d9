// What tools ask about processors, in names instead of numbers: vCPUs and pCPUs, shares, cpupools.
import {
  type Cpupool,
  type DomainConfig,
  type DomainShares,
  type DomainVcpus,
  type Domid,
  type PoolParams,
  parseCpuRange,
  readKey,
  type SchedulerName,
  type ToolstackArgs,
  type VcpuRecord,
  XEN_SCHEDULER_ARINC653,
  XEN_SCHEDULER_CREDIT,
  XEN_SCHEDULER_CREDIT2,
  XEN_SCHEDULER_NULL,
  XEN_SCHEDULER_RTDS,
  XenError,
} from '#pvbus';
import type { ToolstackParts } from './parts.ts';
import type { XcDomainInfo } from './xc.ts';
import { type XcCpupool, XcScheduling } from './xc-scheduling.ts';
import { poolNamePath, poolPath } from './xenstore-paths.ts';

const SCHEDULERS = new Map<number, SchedulerName>([
  [XEN_SCHEDULER_CREDIT, 'credit'],
  [XEN_SCHEDULER_CREDIT2, 'credit2'],
  [XEN_SCHEDULER_ARINC653, 'arinc653'],
  [XEN_SCHEDULER_RTDS, 'rtds'],
  [XEN_SCHEDULER_NULL, 'null'],
]);
/** Throws ENOSYS for a number that is no scheduler's. */
export function schedulerName(id: number): SchedulerName {
  const name = SCHEDULERS.get(id);
  if (name === undefined) throw new XenError('ENOSYS', `scheduler ${id} has no name`);
  return name;
}
function schedulerId(name: SchedulerName): number {
  for (const [id, other] of SCHEDULERS) if (other === name) return id;
  throw new XenError('EINVAL', `there is no scheduler '${name}'`);
}
const hasCredit = (name: SchedulerName): boolean => name === 'credit' || name === 'credit2';

const MAX_WEIGHT = 65_535;
/** Xen: libxl's limits. The 16 bits of a domctl would hold the rest of something larger, or tell to leave what is there. */
function checkCredit(domid: Domid, vcpus: number, weight: number | null, cap: number | null): void {
  if (weight !== null && (weight < 1 || weight > MAX_WEIGHT))
    throw new XenError('EINVAL', `dom${domid}: weight ${weight}: it is from 1 to ${MAX_WEIGHT}`);
  const most = 100 * vcpus;
  if (cap !== null && (cap < 0 || cap > most))
    throw new XenError('EINVAL', `dom${domid}: cap ${cap}: it is from 0 to ${most}, with ${vcpus} vCPUs`);
}

/** The pool that is there from the beginning, whose name nobody has to write. */
const DEFAULT_POOL = 0;

/** What it works with. */
type Parts = Pick<ToolstackParts, 'xc' | 'xs' | 'log'>;

export class Scheduling {
  readonly #parts: Parts;
  readonly #xc: XcScheduling;
  readonly #nameOf: (domid: Domid) => Promise<string | null>;

  constructor(parts: Parts, nameOf: (domid: Domid) => Promise<string | null>) {
    this.#parts = parts;
    this.#xc = new XcScheduling(parts.xc.calls);
    this.#nameOf = nameOf;
  }

  // ---- a domain being made ----

  /** Its pool, its shares and where its vCPUs may run, as its config has them. Errors name the key. */
  async place(domid: Domid, config: DomainConfig): Promise<void> {
    const { pool, cpu_weight, cap, period, budget, extratime, cpus, cpus_soft } = config;
    if (pool !== null) {
      const { id } = await this.#pool(pool).catch(error => {
        throw error instanceof XenError ? new XenError('EINVAL', `pool: ${error.message}`, error) : error;
      });
      if (id !== DEFAULT_POOL) this.#xc.moveDomain(domid, id);
    }
    if (cpu_weight !== null || cap !== null || period !== null || budget !== null || extratime !== null) {
      const { schedId } = await this.#poolOf(domid);
      const scheduler = schedulerName(schedId);
      // Xen: parameters of another scheduler than the pool's are kept with the config, and mean nothing.
      if (hasCredit(scheduler) && (cpu_weight !== null || cap !== null)) {
        checkCredit(domid, config.maxvcpus, cpu_weight, cap);
        this.#xc.setCredit(domid, schedId, cpu_weight, cap);
      } else if (scheduler === 'rtds') {
        const now = this.#xc.rtdsDefault(domid);
        this.#xc.setRtdsAll(domid, {
          period: period ?? now.period,
          budget: budget ?? now.budget,
          extratime: extratime ?? now.extratime,
        });
      }
    }
    this.#pinAll(domid, config.maxvcpus, cpus, 'cpus');
    this.#pinAll(domid, config.maxvcpus, cpus_soft, 'cpus_soft');
  }
  #pinAll(domid: Domid, maxVcpus: number, sets: string | string[] | null, key: 'cpus' | 'cpus_soft'): void {
    if (sets === null) return;
    const { nr_cpus } = this.#parts.xc.physinfo();
    for (let vcpu = 0; vcpu < maxVcpus; vcpu++) {
      // Xen: a vCPU that the list is too short for may run anywhere.
      const set = Array.isArray(sets) ? sets[vcpu] : sets;
      if (set === undefined) return;
      try {
        const map = parseCpuRange(set, nr_cpus);
        if (map.length === 0) throw new XenError('EINVAL', `no CPU is left of "${set}"`);
        this.#xc.setAffinity(domid, vcpu, key === 'cpus' ? map : null, key === 'cpus' ? null : map, false);
      } catch (error) {
        if (error instanceof XenError) throw new XenError(error.code, `${key}: ${error.message}`, error);
        throw error;
      }
    }
  }
  async #poolOf(domid: Domid): Promise<XcCpupool> {
    const { cpupool } = this.#domain(domid);
    const pool = this.#xc.pools().find(({ id }) => id === cpupool);
    if (pool === undefined) throw new XenError('ENOENT', `cpupool ${cpupool}, in which dom${domid} is, is gone`);
    return pool;
  }

  // ---- vCPUs ----

  vcpus(domid: Domid | null): Promise<DomainVcpus[]> {
    return Promise.all(
      this.#domains(domid).map(async info => ({
        domid: info.domid,
        name: await this.#nameOf(info.domid),
        vcpus: info.dying ? [] : this.#vcpusOf(info),
      })),
    );
  }
  #vcpusOf({ domid, maxVcpuId }: XcDomainInfo): VcpuRecord[] {
    const records: VcpuRecord[] = [];
    for (let vcpu = 0; vcpu <= maxVcpuId; vcpu++) {
      const { online, cpu, running, blocked, cpuTime } = this.#xc.vcpuInfo(domid, vcpu);
      const { hard, soft } = this.#xc.affinity(domid, vcpu);
      records.push({ vcpu, online, cpu, running, blocked, cpu_time: cpuTime, hard: [...hard], soft: [...soft] });
    }
    return records;
  }
  pin({ domid, vcpu, hard, soft, force }: ToolstackArgs<'pinVcpu'>): void {
    const info = this.#domain(domid as Domid);
    const first = vcpu ?? 0;
    const last = vcpu ?? info.maxVcpuId;
    for (let id = first; id <= last; id++) this.#xc.setAffinity(info.domid, id, hard, soft, force);
  }

  // ---- shares ----

  shares(domid: Domid | null): Promise<DomainShares[]> {
    const pools = this.#xc.pools();
    return Promise.all(this.#domains(domid).map(info => this.#sharesOf(info, pools)));
  }
  async #sharesOf(info: XcDomainInfo, pools: readonly XcCpupool[]): Promise<DomainShares> {
    const { domid, cpupool, maxVcpuId } = info;
    const pool = pools.find(({ id }) => id === cpupool);
    if (pool === undefined) throw new XenError('ENOENT', `cpupool ${cpupool}, in which dom${domid} is, is gone`);
    const scheduler = schedulerName(pool.schedId);
    const vcpus = Array.from({ length: maxVcpuId + 1 }, (_, vcpu) => vcpu);
    return {
      domid,
      name: await this.#nameOf(domid),
      pool: await this.poolName(cpupool),
      scheduler,
      credit: hasCredit(scheduler) ? this.#xc.credit(domid, pool.schedId) : null,
      rtds:
        scheduler === 'rtds'
          ? { default: this.#xc.rtdsDefault(domid), vcpus: vcpus.map(vcpu => this.#xc.rtds(domid, vcpu)) }
          : null,
    };
  }
  setCredit({ domid, scheduler, weight, cap }: ToolstackArgs<'setCredit'>): void {
    const info = this.#domain(domid as Domid);
    checkCredit(info.domid, info.maxVcpuId + 1, weight, cap);
    this.#xc.setCredit(info.domid, schedulerId(scheduler), weight, cap);
  }
  setRtds({ domid, vcpu, ...wanted }: ToolstackArgs<'setRtds'>): void {
    const info = this.#domain(domid as Domid);
    const first = vcpu ?? 0;
    const last = vcpu ?? info.maxVcpuId;
    for (let id = first; id <= last; id++) {
      const now = this.#xc.rtds(info.domid, id);
      this.#xc.setRtds(info.domid, id, {
        period: wanted.period ?? now.period,
        budget: wanted.budget ?? now.budget,
        extratime: wanted.extratime ?? now.extratime,
      });
    }
  }

  // ---- pools ----

  async pools(): Promise<{ pools: Cpupool[]; free: number[]; nr_cpus: number }> {
    const pools = await Promise.all(this.#xc.pools().map(pool => this.#describe(pool)));
    return { pools, free: [...this.#xc.freeCpus()], nr_cpus: this.#parts.xc.physinfo().nr_cpus };
  }
  async #describe({ id, schedId, domains, cpus }: XcCpupool): Promise<Cpupool> {
    const scheduler = schedulerName(schedId);
    const params: PoolParams | null = hasCredit(scheduler) ? this.#xc.poolParams(id, schedId) : null;
    return { id, name: await this.poolName(id), scheduler, cpus: [...cpus], domains, params };
  }
  /** Xen: a pool's name is a node that its creator writes; the first pool is Pool-0 all the same. */
  async poolName(id: number): Promise<string> {
    return (await readKey(this.#parts.xs, poolNamePath(id))) ?? `Pool-${id}`;
  }
  async #pool(name: string): Promise<XcCpupool> {
    for (const pool of this.#xc.pools()) if ((await this.poolName(pool.id)) === name) return pool;
    throw new XenError('ENOENT', `there is no cpupool '${name}'`);
  }
  async create({ name, scheduler, cpus }: ToolstackArgs<'createPool'>): Promise<number> {
    await this.#checkName(name);
    const { xs, log } = this.#parts;
    const id = this.#xc.createPool(schedulerId(scheduler));
    const taken: number[] = [];
    try {
      for (const cpu of cpus) {
        this.#xc.addCpu(id, cpu);
        taken.push(cpu);
      }
      await xs.write(poolNamePath(id), name);
    } catch (error) {
      for (const cpu of taken) this.#xc.removeCpu(id, cpu);
      this.#xc.destroyPool(id);
      throw error;
    }
    log.info(`cpupool '${name}': ${scheduler}, pCPUs ${cpus.join(',')}`);
    return id;
  }
  async destroy(name: string): Promise<void> {
    const { id, cpus, domains } = await this.#pool(name);
    if (id === DEFAULT_POOL) throw new XenError('EINVAL', `cpupool '${name}' is where domain 0 is`);
    if (domains > 0) throw new XenError('EBUSY', `cpupool '${name}' has ${domains} domains`);
    for (const cpu of cpus) this.#xc.removeCpu(id, cpu);
    this.#xc.destroyPool(id);
    await this.#parts.xs.rm(poolPath(id));
    this.#parts.log.info(`cpupool '${name}' is gone`);
  }
  async rename(pool: string, name: string): Promise<void> {
    const { id } = await this.#pool(pool);
    if (pool !== name) await this.#checkName(name);
    await this.#parts.xs.write(poolNamePath(id), name);
  }
  async #checkName(name: string): Promise<void> {
    if (name === '' || /[\p{Cc}/]/u.test(name)) throw new XenError('EINVAL', `'${name}' cannot be a cpupool's name`);
    for (const { id } of this.#xc.pools())
      if ((await this.poolName(id)) === name) throw new XenError('EEXIST', `there is a cpupool '${name}' already`);
  }
  async addCpu(pool: string, cpu: number): Promise<void> {
    this.#xc.addCpu((await this.#pool(pool)).id, cpu);
  }
  async removeCpu(pool: string, cpu: number): Promise<void> {
    this.#xc.removeCpu((await this.#pool(pool)).id, cpu);
  }
  async move(domid: Domid, pool: string): Promise<void> {
    const info = this.#domain(domid);
    this.#xc.moveDomain(info.domid, (await this.#pool(pool)).id);
  }
  async setParams({ pool, scheduler, ...wanted }: ToolstackArgs<'setPoolParams'>): Promise<void> {
    const { id, schedId } = await this.#pool(pool);
    if (schedId !== schedulerId(scheduler)) {
      throw new XenError('EINVAL', `cpupool '${pool}' is scheduled by ${schedulerName(schedId)}, not ${scheduler}`);
    }
    const now = this.#xc.poolParams(id, schedId);
    this.#xc.setPoolParams(id, schedId, {
      tslice_ms: wanted.tslice_ms ?? now.tslice_ms,
      ratelimit_us: wanted.ratelimit_us ?? now.ratelimit_us,
      vcpu_migr_delay_us: wanted.vcpu_migr_delay_us ?? now.vcpu_migr_delay_us,
    });
  }

  // ---- inside ----

  #domains(domid: Domid | null): XcDomainInfo[] {
    return domid === null ? this.#parts.xc.domainInfoList() : [this.#domain(domid)];
  }
  #domain(domid: Domid): XcDomainInfo {
    const info = this.#parts.xc.domainInfo(domid);
    if (info === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
    return info;
  }
}
