// cpupools: groups of pCPUs with a scheduler of their own. Xen: public/sysctl.h says which error means what.
import {
  XEN_EADDRINUSE,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENODEV,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_SCHEDULER_CREDIT,
  XEN_SCHEDULER_CREDIT2,
  XEN_SYSCTL_CPUPOOL_PAR_ANY,
} from '#pvbus';
import type { Domain } from '../domain.ts';
import type { DomainTable } from '../domain-table.ts';
import type { Policy } from '../policies/policy.ts';
import type { Cpupool } from './cpupool.ts';
import type { Scheduler } from './scheduler.ts';

/** A policy by its XEN_SCHEDULER_*; undefined when there is none. */
export type MakePolicy = (sched_id: number, nrCpus: number) => Policy | undefined;
/** More pools than pCPUs are of no use, but no mistake either. */
const MAX_POOLS = 1024;

export class Cpupools {
  private readonly scheduler: Scheduler;
  private readonly domains: DomainTable;
  private readonly makePolicy: MakePolicy;
  /** By id. */
  private readonly pools = new Map<number, Cpupool>();

  /** Pool-0 has all pCPUs, and `sched_id`. */
  constructor(scheduler: Scheduler, domains: DomainTable, makePolicy: MakePolicy, sched_id: number) {
    this.scheduler = scheduler;
    this.domains = domains;
    this.makePolicy = makePolicy;
    const policy = makePolicy(sched_id, this.nrCpus);
    if (!policy) throw new Error(`no scheduler ${sched_id}`);
    const pool = this.make(0, policy);
    for (const { id } of scheduler.pcpus) scheduler.addCpu(pool, id);
  }
  private make(id: number, policy: Policy): Cpupool {
    const pool = this.scheduler.makePool(id, policy);
    this.pools.set(id, pool);
    return pool;
  }
  private get nrCpus(): number {
    return this.scheduler.pcpus.length;
  }

  byId(id: number): Cpupool | undefined {
    return this.pools.get(id);
  }
  /** The pool a domain is in. */
  of(domain: Domain): Cpupool {
    return this.pools.get(domain.cpupool)!;
  }
  /** XEN_SYSCTL_CPUPOOL_OP_INFO: the pool with this id, or else the next one. */
  from(id: number): Cpupool | undefined {
    const ids = [...this.pools.keys()].filter(other => other >= id);
    return this.pools.get(Math.min(...ids));
  }
  domainsIn(pool: Cpupool): Domain[] {
    return this.domains.list().filter(domain => domain.cpupool === pool.id);
  }
  /** pCPUs that are in no pool. */
  get freeCpus(): boolean[] {
    return this.scheduler.pcpus.map(({ pool }) => pool === undefined);
  }

  /** The id of a new pool without pCPUs, or -errno. */
  create(id: number, sched_id: number): number {
    const policy = this.makePolicy(sched_id, this.nrCpus);
    if (!policy) return -XEN_ENOENT;
    if (id === XEN_SYSCTL_CPUPOOL_PAR_ANY) {
      if (this.pools.size >= MAX_POOLS) return -XEN_ENOSPC;
      id = 0;
      while (this.pools.has(id)) id++;
    } else if (id >= MAX_POOLS) return -XEN_EINVAL;
    if (this.pools.has(id)) return -XEN_EEXIST;
    return this.make(id, policy).id;
  }
  destroy(id: number): number {
    const pool = this.pools.get(id);
    if (!pool) return -XEN_ENOENT;
    if (pool.nrCpus > 0 || this.domainsIn(pool).length > 0) return -XEN_EBUSY;
    this.scheduler.dropPool(pool);
    this.pools.delete(id);
    return 0;
  }
  /** `cpu` XEN_SYSCTL_CPUPOOL_PAR_ANY: the first that is free. */
  addCpu(id: number, cpu: number): number {
    const wanted = cpu === XEN_SYSCTL_CPUPOOL_PAR_ANY ? this.freeCpus.indexOf(true) : cpu;
    if (wanted >= this.nrCpus) return -XEN_EINVAL;
    if (wanted < 0 || this.scheduler.pcpus[wanted]!.pool !== undefined) return -XEN_ENODEV;
    const pool = this.pools.get(id);
    if (!pool) return -XEN_ENOENT;
    this.scheduler.addCpu(pool, wanted);
    return 0;
  }
  /** `cpu` XEN_SYSCTL_CPUPOOL_PAR_ANY: the last of the pool. */
  removeCpu(id: number, cpu: number): number {
    const pool = this.pools.get(id);
    if (!pool) return -XEN_ENOENT;
    const wanted = cpu === XEN_SYSCTL_CPUPOOL_PAR_ANY ? (pool.list.at(-1) ?? -1) : cpu;
    if (wanted >= this.nrCpus) return -XEN_EINVAL;
    if (wanted < 0 || !pool.cpus.has(wanted)) return -XEN_ENODEV;
    const domains = this.domainsIn(pool);
    if (domains.some(domain => domain.vcpus.some(vcpu => vcpu.pinOverride === wanted))) return -XEN_EADDRINUSE;
    if (pool.nrCpus === 1) {
      if (domains.some(domain => !domain.dying)) return -XEN_EBUSY;
      // Xen: who is dying there does so in Pool-0.
      for (const domain of domains) this.move(domain, this.pools.get(0)!);
    }
    this.scheduler.removeCpu(pool, wanted);
    return 0;
  }
  /** A domain that is not the caller's. */
  moveDomain(id: number, domain: Domain): number {
    const pool = this.pools.get(id);
    if (!pool || pool.nrCpus === 0) return -XEN_ENOENT;
    if (domain.isPrivileged) return -XEN_EINVAL;
    this.move(domain, pool);
    return 0;
  }
  private move(domain: Domain, pool: Cpupool): void {
    if (domain.cpupool === pool.id) return;
    const from = this.of(domain);
    domain.cpupool = pool.id;
    this.scheduler.moveDomain(domain, pool);
    this.countCaps(from);
    this.countCaps(pool);
  }
  /** Caps of domains in the pool may have changed. */
  countCaps(pool: Cpupool): void {
    const { policy } = pool;
    if (policy.sched_id !== XEN_SCHEDULER_CREDIT && policy.sched_id !== XEN_SCHEDULER_CREDIT2) return;
    const members = this.domainsIn(pool).flatMap(domain => this.scheduler.memberOf(domain) ?? []);
    this.scheduler.setCapped(pool, members.filter(({ entry }) => policy.domainParams(entry).cap > 0).length);
  }
}
