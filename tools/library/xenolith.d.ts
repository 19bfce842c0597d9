// The module 'xenolith' for programs on the host: a host of one's own, its domains, its xenstore. What fails rejects
// with a XenError. (Guest programs import another 'xenolith': its types are 'xenolith/guest'.)

/** `code` is an errno name: 'ENOENT', 'EEXIST', ... The message is one line for a person. */
export declare class XenError extends Error {
  constructor(code: string, message: string, cause?: unknown);
  readonly code: string;
}

/** Path of the kernel of guest programs, for the key `kernel`. */
export declare const guestKernel: string;

export interface HostOptions {
  /** Where its sockets and logs are, for this user alone; else a temporary one that goes with the host. */
  readonly runDir?: string;
  /** What its domains can have together, such as '512M'; else what the machine has. */
  readonly memory?: string;
  /** Told what `up` does, a line at a time, and warnings about configurations. */
  readonly log?: (line: string) => void;
}

export declare const Host: {
  /** Resolves when it answers. */
  start(options?: HostOptions): Promise<Host>;
};

// ---- faults: docs/faults.md has what each does, and what of it replays exactly ----

/** A time: milliseconds, or '200ms', '5s', '2m', '1h'. */
export type FaultTime = number | string;

export interface Fault {
  /** Its own in its plan. */
  readonly name?: string;
  readonly part:
    | 'disk'
    | 'net'
    | 'event'
    | 'grant'
    | 'pvcalls'
    | '9pfs'
    | 'console'
    | 'xenstore'
    | 'hypercall'
    | 'clock'
    | 'process'
    | 'toolstack';

  // ---- what ----
  /** By name or domid; without, any. */
  readonly domain?: string | number;
  /** 'xvda', 'vif0', or a number. */
  readonly device?: string | number;
  /** Of `grant` one of the first two. */
  readonly type?: 'vbd' | 'vif' | 'pvcalls' | '9pfs' | 'console' | 'xenstore';
  readonly op?: string;
  /** One, or '8-15', or the first and the last. */
  readonly sectors?: number | string | readonly [number, number];
  readonly gref?: number;
  readonly port?: number;
  readonly path?: string;
  readonly process?: 'dom0' | 'xenstored' | 'hypervisor' | 'domain' | 'guest';
  readonly step?: string | number;
  readonly peer?: string | number;

  // ---- when ----
  readonly nth?: number | readonly number[];
  /** Every so many occurrences; of `clock` and `process`, a time. */
  readonly every?: FaultTime;
  readonly from?: number;
  readonly after?: FaultTime;
  /** 0 to 1, or '30%'. */
  readonly probability?: number | string;
  readonly while?: string | { readonly path: string; readonly is?: string };
  readonly times?: number;
  readonly for?: FaultTime;

  // ---- what happens: exactly one of these ----
  readonly error?: string;
  readonly drop?: true;
  readonly delay?: FaultTime;
  readonly duplicate?: number;
  readonly reorder?: true;
  readonly corrupt?: true | number;
  readonly short?: number;
  readonly torn?: number;
  /** A number, or '50%': of the sectors written so many. */
  readonly cache?: true | number | string;
  /** Of a `cache` of some: bytes of a write that arrive together. */
  readonly atomic?: number;
  readonly lose?: true;
  readonly truncate?: number;
  readonly stall?: true;
  readonly kill?: true | 'before' | 'after';
  readonly stop?: FaultTime;
  readonly shift?: FaultTime;
  readonly exhaust?: 'descriptors' | 'memory';
  /** Of `exhaust`: so many descriptors, or bytes such as '16M'. */
  readonly left?: number | string;
}

export interface FaultPlan {
  readonly name?: string;
  readonly seed?: number;
  /** It is removed then. */
  readonly duration?: FaultTime;
  readonly faults: readonly Fault[];
}

/** A host with a topology (the path of its file, or the same as an object), for `body` alone. Nothing of it is left. */
export declare function withTopology<T>(
  topology: string | object,
  options: HostOptions,
  body: (host: Host) => Promise<T>,
): Promise<T>;

/** A fault, some, a plan, or the path of a plan's file. Resolves when they are on. EINVAL says which key is wrong. */
export declare function inject(
  host: Host,
  what: Fault | readonly Fault[] | FaultPlan | string,
  options?: { readonly plan?: string; readonly seed?: number },
): Promise<Injection>;

/** A plan that is on. */
export interface Injection extends AsyncDisposable {
  readonly plan: string;
  readonly seed: number;
  status(): Promise<FaultStatus[]>;
  /**
   * Resolves when each of its faults, or the one named, has happened so often; rejects with ETIMEDOUT and what was seen
   * when that takes longer than `within` ms, a minute without.
   */
  happened(times?: number, fault?: string, options?: { readonly within?: number }): Promise<void>;
  /** Of its faults, oldest first. */
  events(): Promise<HostEvent[]>;
  remove(): Promise<void>;
}

export interface FaultStatus {
  readonly plan: string;
  readonly seed: number;
  readonly fault: string;
  readonly part: string;
  readonly text: string;
  /** Where it is planted; null when it is of no device. */
  readonly devices: number | null;
  /** Occurrences, of the device that had most; devices tell twice a second. */
  readonly seen: number;
  readonly injected: number;
  readonly state: 'on' | 'waits' | 'over';
}

export type HostEvent =
  | {
      readonly event: 'domain';
      /** Wall clock, ms. */
      readonly at: number;
      readonly what: 'created' | 'shutdown' | 'destroyed';
      readonly domid: number;
      readonly name: string | null;
      readonly reason: number | null;
      /** Of a shutdown: what the domain's first program ended with, if it runs programs. */
      readonly exitCode: number | null;
    }
  | {
      readonly event: 'fault';
      readonly at: number;
      /** 'reaction': what the host has done by itself, also without a fault; plan, fault and seed are null. */
      readonly what: 'began' | 'ended' | 'injected' | 'missed' | 'reaction';
      readonly plan: string | null;
      readonly fault: string | null;
      readonly seed: number | null;
      /** Numbers of the occurrences that were befallen. */
      readonly occurrences: number[];
      /** How many, and how many since the plan began. */
      readonly count: number;
      readonly total: number;
      readonly domid: number | null;
      readonly text: string;
    };

/** What must be so whatever fails, by its number in docs/faults.md, and what is needed to see it. */
export interface Invariants {
  /** Acknowledged and flushed writes are in the image. */
  I1: { readonly image: string; readonly acknowledged: Iterable<{ sector: number; data: Uint8Array }> };
  /** Each sector of a write that was not acknowledged is old or new. */
  I2: {
    readonly image: string;
    readonly unacknowledged: Iterable<{ sector: number; data: Uint8Array; before: Uint8Array }>;
  };
  /** No request is completed twice, or was never submitted. */
  I3: { readonly submitted: Iterable<string | number>; readonly completed: Iterable<string | number> };
  /** Every packet was sent as it was received. */
  I4: { readonly sent: Iterable<Uint8Array>; readonly received: Iterable<Uint8Array> };
  /** Processes with their descriptors and shared memory, event channels, grants, mappings and nodes are what `baseline` said. */
  I5: Baseline;
  /** xenstored's tree is whole: its own check. */
  I7: Record<never, never>;
  /**
   * These domains run and have not crashed; their devices are connected, without an error at either end; their consoles have no error
   * of their kernel's, the log none about them; and with `before`, of the consoles what was said since then, some device of each has done
   * something since, and failed at nothing.
   */
  I8: { readonly domains: readonly string[]; readonly before?: Progress };
  /** Whatever was injected is in the events. */
  I9: Record<never, never>;
  /** The trace is that of another run. */
  I10: { readonly trace: readonly string[] };
}
/**
 * Rejects with an Error that begins with the number and says what is not so. What becomes so by itself has `within` ms to: without,
 * I5 30 s; the devices of each domain of I8 5 s to be connected, and 30 s to have done something.
 */
export declare function expectInvariant<N extends keyof Invariants>(
  host: Host,
  number: N,
  what: Invariants[N],
  options?: { readonly within?: number },
): Promise<void>;

export interface Baseline {
  readonly [what: string]: readonly string[];
}
/** What a host has now, for I5. */
export declare function baseline(host: Host): Promise<Baseline>;
/** How far each domain has come. */
export interface Progress {
  readonly [domain: string]: {
    /** Requests or packets of each of its disks and interfaces: `vbd 51712`, `vif 0`. */
    readonly devices: { readonly [device: string]: { readonly done: number; readonly errors: number } };
    /** Bytes of its console's log. */
    readonly said: number;
  };
}
/** Up to now, for I8. */
export declare function progress(host: Host): Promise<Progress>;
/**
 * What was befallen so far, for I10: `fault, occurrence, where`, in the order of each fault. Devices tell twice a second, and all of
 * it when a fault is removed.
 */
export declare function faultTrace(host: Host): Promise<string[]>;

/** Names for `step` of part `toolstack`, in their order, by what the toolstack does. */
export declare const toolstackSteps: {
  readonly create: readonly string[];
  readonly destroy: readonly string[];
  readonly attach: readonly string[];
  readonly detach: readonly string[];
};

/** Processes that live until `stop`, or until this process ends, however it does. */
export interface Host extends AsyncDisposable {
  /** `XENOLITH_RUN_DIR` of xl and other tools that are to find this host. */
  readonly runDir: string;
  readonly xenstore: Xenstore;
  /** A topology file, or what such a file holds as an object. When it fails, nothing of it is left. */
  up(topology: string | object): Promise<void>;
  /** Whether it is there or not. */
  domain(name: string): Domain;
  /** All there are, dom0 the first. */
  domains(): Promise<DomainInfo[]>;
  /** What happened to domains and what faults did, oldest first. */
  events(): Promise<HostEvent[]>;
  /** Its first process. */
  readonly pid: number;
  /** What the host has written to its log: of what is older than 4 MiB, as much again. */
  log(): string;
  /** Ends its domains, then the host. Nothing of it is left but the logs in a `runDir` that was given. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A domain by its name. It may be made, end, and be made again. */
export interface Domain {
  readonly name: string;
  /**
   * Keys of xl.cfg, or `config`, the path of an xl.cfg; `paused: true` leaves it paused. `kernel` is `guestKernel`
   * unless said otherwise, `ramdisk` the guest's program.
   */
  create(keys?: Readonly<Record<string, unknown>>): Promise<void>;
  /** ENOENT when it is not there; so have all that follow. */
  domid(): Promise<number>;
  info(): Promise<DomainInfo>;
  destroy(): Promise<void>;
  /** Asks the guest; resolves when it took note. */
  shutdown(): Promise<void>;
  reboot(): Promise<void>;
  pause(): Promise<void>;
  unpause(): Promise<void>;
  /** Resolves when it has shut down, or is gone; at once when it is not there. */
  wait(until?: 'shutdown' | 'destroyed'): Promise<DomainEnd>;
  console(): Promise<DomainConsole>;
}

export interface DomainEnd {
  readonly what: 'shutdown' | 'destroyed';
  /** SHUTDOWN_*: 0 poweroff, 1 reboot, 2 suspend, 3 crash, 4 watchdog; null when nobody knows. */
  readonly reason: number | null;
  /** What its first program ended with, if it runs programs and has shut down. */
  readonly exitCode: number | null;
}

/** What `xl list` knows of a domain. */
export interface DomainInfo {
  readonly domid: number;
  readonly name: string | null;
  readonly uuid: string;
  readonly current_kb: number;
  readonly max_kb: number;
  readonly vcpu_online: number;
  /** Nanoseconds. */
  readonly cpu_time: number;
  readonly running: boolean;
  readonly blocked: boolean;
  readonly paused: boolean;
  readonly shutdown: boolean;
  readonly dying: boolean;
  readonly shutdown_reason: number | null;
  readonly cpupool: string;
}

/** Begins with the last that the domain has written. One reader at a time. */
export interface DomainConsole {
  write(text: string): void;
  /**
   * Resolves with what came up to the end of the first match, which is then read: lines end in '\r\n', as a terminal's do. EPIPE
   * when the domain ends first, or dom0's process, which serves the console: `console()` again has the next one's.
   */
  waitFor(pattern: string | RegExp): Promise<string>;
  /** Without their ends, until the domain is gone. */
  lines(): AsyncGenerator<string, void, void>;
  close(): void;
}

/**
 * xenstored, as dom0 sees it. `tx` is what `transaction` hands to its body. When its process has ended, what was under way rejects with
 * ECONNRESET, whether or not it was done; what is asked then is asked of the next one.
 */
export interface Xenstore {
  read(path: string, tx?: number): Promise<string>;
  readBytes(path: string, tx?: number): Promise<Uint8Array>;
  write(path: string, value: string | Uint8Array, tx?: number): Promise<void>;
  mkdir(path: string, tx?: number): Promise<void>;
  rm(path: string, tx?: number): Promise<void>;
  directory(path: string, tx?: number): Promise<string[]>;
  exists(path: string, tx?: number): Promise<boolean>;
  getPerms(path: string, tx?: number): Promise<string[]>;
  setPerms(path: string, perms: readonly string[], tx?: number): Promise<void>;
  /** Called once at first, then for each change at or below `path`; once at first by each xenstored. */
  watch(path: string, token: string, onChange: (path: string, token: string) => void): Promise<void>;
  unwatch(path: string, token: string): Promise<void>;
  /** Committed when `body` resolves; done again when somebody else was faster, not when xenstored has ended. */
  transaction<T>(body: (tx: number) => Promise<T>): Promise<T>;
}
