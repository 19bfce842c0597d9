// What tools ask the toolstack about processors: requests of toolstack-protocol.ts, by themselves for their number.
import {
  flag,
  integer,
  listOf,
  nothing,
  nullable,
  oneOf,
  quantity,
  record,
  type Shaped,
  text,
} from './message-shape.ts';
import { anyName, domid, op } from './toolstack-op.ts';

export const SCHEDULER_NAMES = ['credit', 'credit2', 'arinc653', 'rtds', 'null'] as const;
export type SchedulerName = (typeof SCHEDULER_NAMES)[number];

const scheduler = oneOf(...SCHEDULER_NAMES);
const cpuNumber = integer(0, 1023);
const cpus = listOf(cpuNumber, 1024);
const poolName = text(64);

export const vcpuRecord = record({
  vcpu: integer(0, 4095),
  online: flag,
  /** The pCPU it ran on last. */
  cpu: integer(),
  running: flag,
  blocked: flag,
  /** ns */
  cpu_time: quantity,
  hard: cpus,
  soft: cpus,
});
export type VcpuRecord = Shaped<typeof vcpuRecord>;

export const domainVcpus = record({ domid, name: nullable(anyName), vcpus: listOf(vcpuRecord, 4096) });
export type DomainVcpus = Shaped<typeof domainVcpus>;

/** µs */
export const rtdsParams = record({ period: integer(), budget: integer(), extratime: flag });
export type RtdsShares = Shaped<typeof rtdsParams>;

/** What a domain is scheduled by, in the terms of its pool's scheduler. */
export const domainShares = record({
  domid,
  name: nullable(anyName),
  pool: poolName,
  scheduler,
  /** credit and credit2 */
  credit: nullable(record({ weight: integer(0, 65_535), cap: integer(0, 65_535) })),
  /** rtds: what a new vCPU gets, and each vCPU in order. */
  rtds: nullable(record({ default: rtdsParams, vcpus: listOf(rtdsParams, 4096) })),
});
export type DomainShares = Shaped<typeof domainShares>;

export const poolParams = record({ tslice_ms: integer(), ratelimit_us: integer(), vcpu_migr_delay_us: integer() });
export type PoolParams = Shaped<typeof poolParams>;

export const cpupool = record({
  id: integer(),
  name: poolName,
  scheduler,
  cpus,
  domains: integer(),
  /** credit, and of credit2 the rate limit. */
  params: nullable(poolParams),
});
export type Cpupool = Shaped<typeof cpupool>;

export const SCHEDULING_OPS = {
  /** Of all domains in order of domid, or of one; ESRCH when it does not exist. */
  vcpus: op({ domid: nullable(domid) }, listOf(domainVcpus, 65_536)),
  /** `vcpu` null: all of them. A map that is null stays as it is. EINVAL: no pCPU of the pool is in it. */
  pinVcpu: op(
    { domid, vcpu: nullable(integer(0, 4095)), hard: nullable(cpus), soft: nullable(cpus), force: flag },
    nothing,
  ),
  shares: op({ domid: nullable(domid) }, listOf(domainShares, 65_536)),
  /** null: as it is. EINVAL when its pool's scheduler has no such thing. */
  setCredit: op({ domid, scheduler, weight: nullable(integer()), cap: nullable(integer()) }, nothing),
  /** `vcpu` null: all of them. */
  setRtds: op(
    {
      domid,
      vcpu: nullable(integer(0, 4095)),
      period: nullable(integer()),
      budget: nullable(integer()),
      extratime: nullable(flag),
    },
    nothing,
  ),
  setPoolParams: op(
    {
      pool: poolName,
      scheduler,
      tslice_ms: nullable(integer()),
      ratelimit_us: nullable(integer()),
      vcpu_migr_delay_us: nullable(integer()),
    },
    nothing,
  ),

  /** `free`: pCPUs in no pool. `nr_cpus`: all there are. */
  cpupools: op({}, record({ pools: listOf(cpupool, 1024), free: cpus, nr_cpus: integer() })),
  /** With these pCPUs, which must be in no pool. EEXIST, EBUSY, EINVAL; nothing is left of one that fails. */
  createPool: op({ name: poolName, scheduler, cpus }, record({ id: integer() })),
  /** EBUSY while a domain is in it; its pCPUs are free afterwards. */
  destroyPool: op({ pool: poolName }, nothing),
  renamePool: op({ pool: poolName, name: poolName }, nothing),
  addPoolCpu: op({ pool: poolName, cpu: cpuNumber }, nothing),
  removePoolCpu: op({ pool: poolName, cpu: cpuNumber }, nothing),
  moveToPool: op({ domid, pool: poolName }, nothing),
} as const;
