// What the toolstack's functions work with: handed to each, made once by dom0.
import type { Clock, Log, XenstoreClient } from '#pvbus';
import type { Consoled } from '../backends/consoled/device.ts';
import type { DomainWatch } from '../domain-watch.ts';
import type { ImageLoader } from './bundle-program.ts';
import type { DomainRecords } from './domain-records.ts';
import type { FaultPlans } from './faults/fault-plans.ts';
import type { FreeMemory } from './free-memory.ts';
import type { Ledger } from './ledger.ts';
import type { Order } from './order.ts';
import type { Scheduling } from './scheduling.ts';
import type { Xc } from './xc.ts';

export interface ToolstackParts {
  readonly xc: Xc;
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly clock: Clock;
  readonly runDir: string;
  /** When this toolstack began, by the wall clock. */
  readonly startedMs: number;
  readonly images: ImageLoader;
  readonly ledger: Ledger;
  readonly records: DomainRecords;
  readonly memory: FreeMemory;
  /** Of those that are being created. */
  readonly order: Order;
  readonly consoled: Consoled;
  readonly scheduling: Scheduling;
  readonly watch: DomainWatch;
  /** What is to go wrong on purpose. */
  readonly faults: Pick<FaultPlans, 'at' | 'making' | 'domainMade' | 'domainGone'>;
  /** Resolves when dom0's backends have acted on every change of xenstore up to now. */
  readonly backendsSettled: () => Promise<void>;
}
