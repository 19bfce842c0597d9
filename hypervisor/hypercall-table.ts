// Hypercall number -> handler. The only list of them; a number that is not here is -ENOSYS.
import {
  __HYPERVISOR_console_io,
  __HYPERVISOR_domctl,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_platform_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_set_timer_op,
  __HYPERVISOR_sysctl,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xen_version,
  __HYPERVISOR_xenolith_op,
  errnoName,
  XEN_ENOSYS,
} from '#pvbus';
import type { Continuations } from './continuations.ts';
import type { Result } from './deferred.ts';
import type { Vcpu } from './domain.ts';
import type { ConsoleIo } from './hypercalls/console-io.ts';
import type { Domctl } from './hypercalls/domctl.ts';
import type { EventChannelOp } from './hypercalls/event-channel-op.ts';
import type { GrantTableOp } from './hypercalls/grant-table-op.ts';
import type { MemoryOp } from './hypercalls/memory-op.ts';
import { Multicall } from './hypercalls/multicall.ts';
import type { PlatformOp } from './hypercalls/platform-op.ts';
import type { SchedOp } from './hypercalls/sched-op.ts';
import type { SetTimerOp } from './hypercalls/set-timer-op.ts';
import type { Sysctl } from './hypercalls/sysctl.ts';
import type { VcpuOp } from './hypercalls/vcpu-op.ts';
import type { XenVersion } from './hypercalls/xen-version.ts';
import type { XenolithOp } from './hypercalls/xenolith-op.ts';
import type { Refusals } from './refusals.ts';

/** One hypercall with its five arguments, of which it takes what it has. */
export type Handler = (caller: Vcpu, a0: number, a1: number, a2: number, a3: number, a4: number) => Result;

export interface Ops {
  readonly memory: MemoryOp;
  readonly timer: SetTimerOp;
  readonly version: XenVersion;
  readonly console: ConsoleIo;
  readonly platform: PlatformOp;
  readonly grants: GrantTableOp;
  readonly vcpu: VcpuOp;
  readonly sched: SchedOp;
  readonly events: EventChannelOp;
  readonly sysctl: Sysctl;
  readonly domctl: Domctl;
  readonly xenolith: XenolithOp;
  readonly continuations: Continuations;
  readonly refusals: Refusals;
}

/** Above are addresses. */
const COMMANDS = 4096;

export class HypercallTable {
  private readonly handlers: (Handler | undefined)[] = [];
  /** What answers when no fault does. */
  private readonly plain: readonly (Handler | undefined)[];
  private readonly refusals: Refusals;

  constructor(ops: Ops) {
    const { handlers } = this;
    this.refusals = ops.refusals;
    const multicall = new Multicall(
      __HYPERVISOR_multicall,
      (caller, nr, a0, a1, a2, a3, a4) => this.call(caller, nr, a0, a1, a2, a3, a4),
      ops.continuations,
    );
    handlers[__HYPERVISOR_memory_op] = (caller, cmd, arg) => ops.memory.call(caller, cmd, arg);
    handlers[__HYPERVISOR_multicall] = (caller, list, count) => multicall.call(caller, list, count);
    handlers[__HYPERVISOR_platform_op] = (caller, arg) => ops.platform.call(caller, arg);
    handlers[__HYPERVISOR_set_timer_op] = (caller, timeout) => ops.timer.call(caller, timeout);
    handlers[__HYPERVISOR_xen_version] = (caller, cmd, arg) => ops.version.call(caller, cmd, arg);
    handlers[__HYPERVISOR_console_io] = (caller, cmd, count, buffer) => ops.console.call(caller, cmd, count, buffer);
    handlers[__HYPERVISOR_grant_table_op] = (caller, cmd, arg, count) => ops.grants.call(caller, cmd, arg, count);
    handlers[__HYPERVISOR_vcpu_op] = (caller, cmd, id, arg) => ops.vcpu.call(caller, cmd, id, arg);
    handlers[__HYPERVISOR_sched_op] = (caller, cmd, arg) => ops.sched.call(caller, cmd, arg);
    handlers[__HYPERVISOR_event_channel_op] = (caller, cmd, arg) => ops.events.call(caller, cmd, arg);
    handlers[__HYPERVISOR_sysctl] = (caller, arg) => ops.sysctl.call(caller, arg);
    handlers[__HYPERVISOR_domctl] = (caller, arg) => ops.domctl.call(caller, arg);
    handlers[__HYPERVISOR_xenolith_op] = (caller, cmd, arg) => ops.xenolith.call(caller, cmd, arg);
    this.plain = [...handlers];
  }

  /** Hypercall `nr` is answered by what `make` makes of its own handler; without, by that one again. */
  replace(nr: number, make?: (plain: Handler) => Handler): void {
    const plain = this.plain[nr];
    if (plain !== undefined) this.handlers[nr] = make?.(plain) ?? plain;
  }

  call(caller: Vcpu, nr: number, a0: number, a1: number, a2: number, a3: number, a4: number): Result {
    const handler = this.handlers[nr];
    const result = handler === undefined ? -XEN_ENOSYS : handler(caller, a0, a1, a2, a3, a4);
    if (typeof result === 'number' && result < 0) {
      // domctl and its like have their command in the argument.
      const cmd = a0 < COMMANDS ? a0 : undefined;
      this.refusals.note(caller.domain, nr, cmd, () => errnoName(-result));
    }
    return result;
  }
}
