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
  /** What the host has written to its log. */
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
  /** Resolves with what came up to the end of the first match, which is then read. EPIPE when the domain ends first. */
  waitFor(pattern: string | RegExp): Promise<string>;
  /** Without their ends, until the domain is gone. */
  lines(): AsyncGenerator<string, void, void>;
  close(): void;
}

/** xenstored, as dom0 sees it. `tx` is what `transaction` hands to its body. */
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
  /** Called once at first, then for each change at or below `path`. */
  watch(path: string, token: string, onChange: (path: string, token: string) => void): Promise<void>;
  unwatch(path: string, token: string): Promise<void>;
  /** Committed when `body` resolves; done again when somebody else was faster. */
  transaction<T>(body: (tx: number) => Promise<T>): Promise<T>;
}
