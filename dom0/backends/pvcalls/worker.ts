// Every connected pvcalls frontend, in a thread with an event loop: commands come by event channel, bytes
// of the host by Node's sockets.
import { domid, type Log, type Vcpu, type XenError } from '#pvbus';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import { FrontendConnection } from './frontend-connection.ts';
import { type PortKeys, parsePortPolicy } from './port-policy.ts';
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
  | { op: 'stats' };

export type PvcallsEvent =
  | { event: 'failed'; device: string; code: string; message: string }
  | { event: 'listening'; device: string; guestPort: number; hostPort: number };

export class PvcallsWorker implements BackendWorker {
  readonly stats = new PvcallsStats();
  private readonly vcpu: Vcpu;
  private readonly log: Log;
  private readonly tell: (event: PvcallsEvent) => void;
  private readonly connections = new Map<string, FrontendConnection>();

  constructor({ vcpu, log, tell }: BackendContext) {
    this.vcpu = vcpu;
    this.log = log;
    this.tell = tell;
  }

  handle(message: unknown): unknown {
    const call = message as PvcallsCall; // from dom0's own main thread
    if (call.op === 'stats') return { ...this.stats };
    this.connections.get(call.device)?.close();
    this.connections.delete(call.device);
    if (call.op === 'connect') this.connect(call);
    return null;
  }

  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    for (const connection of this.connections.values()) if (connection.step() === 'progress') result = 'progress';
    return result;
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
    this.connections.set(device, connection);
  }
}
