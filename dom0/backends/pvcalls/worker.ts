// Every connected pvcalls frontend, in a thread with an event loop: commands come by event channel, bytes
// of the host by Node's sockets.
import { type Clock, domid, type Injected, type Log, type Planted, type Vcpu, type XenError } from '#pvbus';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import { FrontendConnection } from './frontend-connection.ts';
import { type PortKeys, parsePortPolicy } from './port-policy.ts';
import { SocketFaults } from './socket-faults.ts';
import { PvcallsStats } from './stats.ts';

/** `device` names one device: its backend path. */
export type PvcallsCall =
  | {
      op: 'connect';
      device: string;
      label: string;
      frontend: number;
      ref: number;
      evtchn: number;
      ports: PortKeys;
    }
  | { op: 'disconnect'; device: string }
  /** These faults befall the device from now on, connected or not; none of others. */
  | { op: 'faults'; device: string; label: string; planted: readonly Planted[] }
  | { op: 'stats' };

export type PvcallsEvent =
  | { event: 'failed'; device: string; code: string; message: string }
  | { event: 'listening'; device: string; guestPort: number; hostPort: number }
  | { event: 'injected'; device: string; injected: Injected };

export class PvcallsWorker implements BackendWorker {
  readonly stats = new PvcallsStats();
  private readonly vcpu: Vcpu;
  private readonly log: Log;
  private readonly tell: (event: PvcallsEvent) => void;
  private readonly clock: Clock;
  private readonly wake: () => void;
  private readonly connections = new Map<string, FrontendConnection>();
  private readonly faults = new Map<string, SocketFaults>();

  constructor({ vcpu, log, clock, tell, wake }: BackendContext) {
    this.vcpu = vcpu;
    this.log = log;
    this.clock = clock;
    this.wake = wake;
    this.tell = tell;
  }

  handle(message: unknown): unknown {
    const call = message as PvcallsCall; // from dom0's own main thread
    if (call.op === 'stats') return { ...this.stats };
    if (call.op === 'faults') return this.plant(call);
    this.connections.get(call.device)?.close();
    this.connections.delete(call.device);
    if (call.op === 'connect') this.connect(call);
    return null;
  }

  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    for (const connection of this.connections.values()) if (connection.step() === 'progress') result = 'progress';
    if (this.faults.size > 0)
      for (const faults of this.faults.values()) if (faults.step() === 'progress') result = 'progress';
    return result;
  }
  /** What a fault holds back goes on then. */
  deadline(): number | undefined {
    let first: number | undefined;
    for (const { deadline } of this.faults.values())
      if (deadline !== undefined && (first === undefined || deadline < first)) first = deadline;
    return first;
  }

  private plant({ device, label, planted }: Extract<PvcallsCall, { op: 'faults' }>): null {
    const { clock, wake } = this;
    const known = this.faults.get(device);
    const tell = (injected: Injected): void => this.tell({ event: 'injected', device, injected });
    const faults = known ?? new SocketFaults(label, { clock, notifier: this.vcpu.events, wake, tell });
    faults.plant(planted);
    if (planted.length > 0) this.faults.set(device, faults);
    else this.faults.delete(device);
    this.connections.get(device)?.befall(this.faults.get(device));
    return null;
  }

  private connect(call: Extract<PvcallsCall, { op: 'connect' }>): void {
    const { device, label } = call;
    const connection = new FrontendConnection({
      vcpu: this.vcpu,
      log: this.log,
      stats: this.stats,
      policy: parsePortPolicy(call.ports),
      frontend: domid(call.frontend),
      label,
      ref: call.ref,
      evtchn: call.evtchn,
      onFatal: (error: XenError) => {
        if (this.connections.get(device) === connection) this.connections.delete(device);
        this.tell({ event: 'failed', device, code: error.code, message: error.message });
      },
      onListening: (guestPort, hostPort) => this.tell({ event: 'listening', device, guestPort, hostPort }),
    });
    connection.befall(this.faults.get(device));
    this.connections.set(device, connection);
  }
}
