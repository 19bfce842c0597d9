// The module 'xenolith', as guest programs import it. A program is one module; its default export, if it
// is a function, is its main function, and the domain powers off when that returns. What throws out of a
// program is the domain's crash, with the message on its console.
//
// Everything that fails throws (or rejects with) an Error whose `code` is an errno name: 'ENOENT', 'EIO', ...

declare module 'xenolith' {
  // ---- files ----

  export interface FileInfo {
    readonly name: string;
    /** Bytes; 0 for a directory. */
    readonly size: number;
    readonly isDirectory: boolean;
    readonly isReadOnly: boolean;
    readonly modified: Date;
  }
  export interface WriteOptions {
    /** Return only when the data, and the directory entry that leads to it, are on the medium. */
    readonly sync?: boolean;
  }
  /** 'r' to read, 'r+' to read and write, 'w' to begin anew, 'a' to write at the end. */
  export type OpenMode = 'r' | 'r+' | 'w' | 'a';

  /** An open file. Reads and writes happen at `position`, which moves along, or where they are told. */
  export interface OpenFile {
    readonly path: string;
    readonly size: number;
    position: number;
    /** Fills `into` as far as the file goes; how many bytes that was. */
    read(into: Uint8Array, position?: number): number;
    /** All of it, or an Error. A gap before `position` becomes zeros. */
    write(data: Uint8Array, position?: number): void;
    truncate(size: number): void;
    sync(): void;
    close(): void;
  }

  /**
   * A FAT or ext4 volume. Calls return when they are done; paths use '/', with or without one in front. Symlinks are followed,
   * but by `remove` and `rename`, and lead nowhere out of the volume.
   */
  export interface Volume {
    readFile(path: string): Uint8Array;
    /** As UTF-8. */
    readText(path: string): string;
    /** The file holds exactly `data` afterwards. */
    writeFile(path: string, data: Uint8Array | string, options?: WriteOptions): void;
    /** All of `data` is at the end of the file afterwards; on ENOSPC none of it. */
    appendFile(path: string, data: Uint8Array | string, options?: WriteOptions): void;
    truncate(path: string, size: number): void;
    open(path: string, mode?: OpenMode): OpenFile;
    exists(path: string): boolean;
    stat(path: string): FileInfo;
    /** What is in a directory; the root when none is named. */
    list(path?: string): FileInfo[];
    mkdir(path: string, options?: { readonly recursive?: boolean }): void;
    /** A file or an empty directory. */
    remove(path: string): void;
    /** EEXIST when there is something at `to`. */
    rename(from: string, to: string): void;
    /** Bytes. */
    space(): { readonly free: number; readonly total: number };
    label(): string;
    /** Everything written so far is on the medium when this returns. */
    sync(): void;
  }

  /** The root file system (`root=/dev/xvda` on the command line), and how to come by others. */
  export const files: Volume & {
    /** The volume on a disk, given by name or by itself. EINVAL when there is none on it. */
    mount(disk: string | Disk, options?: { readonly readOnly?: boolean }): Volume;
    /** Make an empty FAT volume over a whole disk. What was there is lost. */
    format(disk: string | Disk, options?: { readonly label?: string }): void;
  };

  // ---- disks ----

  /** A virtual disk, in sectors. Buffers hold whole sectors. */
  export interface Disk {
    /** 'xvda' */
    readonly name: string;
    readonly sectors: number;
    readonly sectorSize: number;
    readonly readOnly: boolean;
    // These return when it is done.
    read(sector: number, into: Uint8Array): void;
    write(sector: number, from: Uint8Array): void;
    flush(): void;
    discard(sector: number, count: number): void;
    // These start it, many at a time; the buffer is the disk's until the promise settles.
    submitRead(sector: number, into: Uint8Array): Promise<void>;
    submitWrite(sector: number, from: Uint8Array): Promise<void>;
    /** Covers the writes whose promises have resolved. */
    submitFlush(): Promise<void>;
    submitDiscard(sector: number, count: number): Promise<void>;
  }
  export const disks: Iterable<Disk> & {
    list(): Disk[];
    /** ENODEV when there is none of that name. */
    get(name: string): Disk;
  };

  // ---- network (virtual interface) ----

  export interface Datagram {
    readonly data: Uint8Array;
    readonly address: string;
    readonly port: number;
  }
  export interface UdpSocket extends AsyncIterable<Datagram> {
    readonly port: number;
    /** False when the device has no room now; nothing was sent then. */
    send(data: Uint8Array | string, address: string, port: number): boolean;
    /** ETIMEDOUT when nothing came in time. */
    receive(options?: { readonly timeoutMs?: number }): Promise<Datagram>;
    close(): void;
  }
  /** A connection that a neighbour wants with somebody else. Until it is decided upon, the neighbour waits. */
  export interface InterceptedConnection {
    readonly from: { readonly address: string; readonly port: number };
    readonly to: { readonly address: string; readonly port: number };
    /**
     * Complete the handshake in the name of whom it is for. ECONNABORTED: the neighbour has given up. One that is silent
     * is asked after a minute, and given up in another one (ETIMEDOUT).
     */
    accept(): Promise<Connection>;
    /** With a reset, ECONNREFUSED, unless said; the others are told by ICMP. */
    refuse(code?: 'ECONNREFUSED' | 'EHOSTUNREACH' | 'ENETUNREACH' | 'EACCES'): void;
  }
  export interface Interceptor extends AsyncIterable<InterceptedConnection> {
    /** The next one. At most 256 wait; the SYNs of others are dropped, and come again. */
    next(): Promise<InterceptedConnection>;
    /** No more of them; those that were accepted live on. */
    close(): void;
  }
  /**
   * Whether a peer that has been silent for `idleMs` is asked if it is there, `probes` times, every `intervalMs`: without an
   * answer, the connection ends with ETIMEDOUT. true: after two hours, 9 times, every 75 s.
   */
  export type KeepAlive =
    | boolean
    | { readonly idleMs?: number; readonly intervalMs?: number; readonly probes?: number };
  export interface Interface {
    /** eth0 is vif 0. */
    readonly name: string;
    readonly mac: string;
    readonly mtu: number;
    /** Of both families, that packets may come from. */
    readonly addresses: readonly string[];
  }
  /**
   * The interfaces that `ip=` and `ip6=` on the command line configure, or `ip` of their vifs. ENODEV where there is none.
   * Packets leave by the one with the longest prefix; of several that would do, by the one that has their sender's address,
   * else the first.
   */
  export const net: {
    /** By their numbers; those that were attached since, too. */
    readonly interfaces: readonly Interface[];
    /** The first of IPv4; undefined where there is none. */
    readonly address: string | undefined;
    /** Of all interfaces. */
    readonly addresses: readonly string[];
    /** Of the first interface. */
    readonly mac: string | undefined;
    readonly mtu: number | undefined;
    /** ETIMEDOUT, EHOSTUNREACH, ENETUNREACH. */
    ping(
      address: string,
      options?: { readonly timeoutMs?: number; readonly size?: number },
    ): Promise<{ readonly rttMs: number; readonly seq: number }>;
    /** Port 0, or none: one that is free. */
    udp(port?: number): UdpSocket;
    /** Wait for TCP connections, to `address` or to all there are. Port 0: one that is free. EADDRINUSE, EADDRNOTAVAIL. */
    listen(
      port: number,
      options?: { readonly address?: string; readonly backlog?: number; readonly keepAlive?: KeepAlive },
    ): Promise<Listener>;
    /**
     * For the gateway of others: connections that neighbours open through this domain to addresses beyond its network, and
     * to its own where nobody listens. What else they send there is answered as unreachable. One at a time: EADDRINUSE.
     */
    intercept(): Interceptor;
    /**
     * To an address, or to that of a name's which answers first: IPv6 is tried first, and another one every 250 ms
     * (RFC 8305). ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, and what
     * `resolve` says.
     */
    connect(host: string, port: number, options?: { readonly keepAlive?: KeepAlive }): Promise<Connection>;
    /**
     * The addresses of a name, at least one, of the families that the interface has an address of, IPv6 first. From the name
     * servers of `nameserver=`, of DHCP and of routers. ENOENT: there is no such name, or no server to ask; ETIMEDOUT, EIO.
     */
    resolve(name: string): Promise<string[]>;
  };

  // ---- connections (TCP), over the interface or to the host's loopback ----

  export interface Connection extends AsyncIterable<Uint8Array> {
    /** What has arrived, at least a byte; null once the peer has ended its side. */
    read(): Promise<Uint8Array | null>;
    /** Resolves when all of it is on its way; a slow peer is waited for. */
    write(data: Uint8Array | string): Promise<void>;
    /** Nothing more will be written; the peer may still send. */
    end(): Promise<void>;
    /** Done with it. What was written is still delivered. */
    close(): Promise<void>;
    /** Done with it, and the peer hears of a failure (ECONNRESET). */
    reset(): Promise<void>;
  }
  export interface Listener extends AsyncIterable<Connection> {
    readonly port: number;
    accept(): Promise<Connection>;
    /** Connections that were accepted live on. */
    close(): Promise<void>;
  }
  /** Ports of the host's 127.0.0.1, and addresses beyond, that the domain's configuration allows: EACCES for others. */
  export const host: {
    listen(port: number, options?: { readonly backlog?: number }): Promise<Listener>;
    /** `address`: of IPv4; the host's 127.0.0.1 unless said. ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH. */
    connect(port: number, options?: { readonly address?: string }): Promise<Connection>;
  };

  // ---- HTTP ----

  export interface HttpRequest {
    readonly method: string;
    /** Decoded, without the query. */
    readonly path: string;
    readonly query: URLSearchParams;
    /** Names in lower case. */
    readonly headers: ReadonlyMap<string, string>;
    readonly body: Uint8Array;
    text(): string;
    json(): unknown;
  }
  export interface HttpResponse {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: Uint8Array | string;
  }
  /** A string is text, bytes are bytes, an object is the whole response; nothing is 204. */
  export type HttpAnswer = HttpResponse | string | Uint8Array | undefined;
  export type HttpHandler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;
  export interface HttpOptions {
    /** Whose port: the host's (see `host`), or this domain's own (`net`). Default: the host's where the domain has any. */
    readonly on?: 'host' | 'net';
    /** Bytes of a body; more is 413. Default 1 MiB. */
    readonly maxBody?: number;
    /** How long a client may take for a request's head, and again for its body. Default 10 s. */
    readonly requestTimeoutMs?: number;
    /** How long an idle connection is kept. Default 15 s. */
    readonly idleTimeoutMs?: number;
    /** Connections at a time; others wait. Default 64. */
    readonly maxConnections?: number;
  }
  export interface HttpServer {
    readonly port: number;
    /** No new connections; those that are being answered are finished. */
    close(): Promise<void>;
  }
  export const http: {
    /** Serve a port. Resolves when it is open. A handler that throws is a 500. */
    serve(port: number, handler: HttpHandler, options?: HttpOptions): Promise<HttpServer>;
  };

  // ---- several vCPUs ----

  type SharedArray =
    | Int8Array
    | Uint8Array
    | Uint8ClampedArray
    | Int16Array
    | Uint16Array
    | Int32Array
    | Uint32Array
    | Float32Array
    | Float64Array
    | BigInt64Array
    | BigUint64Array;

  /** One vCPU has it at a time. Who waits for it gives the processor back. */
  export interface Lock {
    tryAcquire(): boolean;
    /** EDEADLK when this vCPU has it already. */
    acquire(): void;
    /** EPERM when this vCPU has it not. */
    release(): void;
    /** The result of `body`, which runs with the lock held. */
    hold<T>(body: () => T): T;
  }
  export interface Semaphore {
    tryAcquire(): boolean;
    /** Takes a permit; waits until there is one. */
    acquire(): void;
    release(permits?: number): void;
  }
  export interface Barrier {
    readonly parties: number;
    /** Returns once as many vCPUs as there are parties wait. */
    wait(): void;
  }

  /**
   * The domain's vCPUs (`vcpus=`, `maxvcpus=`, `xl vcpu-set`). The program runs on vCPU 0, which has the devices; each
   * other one has a copy of the program whose top level runs before its first task, and of this module `smp`, `clock` and
   * `console`. Waiting for a lock stops the whole vCPU: on vCPU 0 its I/O as well.
   */
  export const smp: {
    /** The vCPU this is. */
    readonly vcpu: number;
    /** vCPUs there can be. */
    readonly max: number;
    /** Those that are up. (This and all that follows, but `times`, is vCPU 0's: EOPNOTSUPP elsewhere.) */
    readonly online: readonly number[];
    onChange(changed: (online: readonly number[]) => void): void;
    /**
     * Run `task`, a function that the program exports, on another vCPU that is free, or as soon as one is; here when no
     * other is up. Arguments, result and errors are copied, as structuredClone does; locks and arrays of `alloc` are
     * shared. A vCPU that is taken down finishes its task first.
     */
    run<A extends unknown[], R>(task: (...args: A) => R, ...args: A): Promise<Awaited<R>>;
    /** On that one: ENODEV when it is not up. When it is taken down before, another one runs the task. */
    runOn<A extends unknown[], R>(vcpu: number, task: (...args: A) => R, ...args: A): Promise<Awaited<R>>;
    /** Memory of all vCPUs, zeroed; use Atomics, or a lock around it. ENOMEM. */
    alloc<T extends SharedArray>(
      kind: { new (buffer: ArrayBuffer, byteOffset: number, length: number): T; readonly BYTES_PER_ELEMENT: number },
      length: number,
    ): T;
    /** Nobody uses it any more. */
    free(array: SharedArray): void;
    lock(): Lock;
    semaphore(permits: number): Semaphore;
    barrier(parties: number): Barrier;
    /** How a vCPU, this one if none is named, has spent its time, in ms; runnable is what others had of its processor. */
    times(vcpu?: number): {
      readonly running: number;
      readonly runnable: number;
      readonly blocked: number;
      readonly offline: number;
    };
  };

  // ---- console, time, the domain itself ----

  /** The console, with all of the usual methods; also there as the global `console`. */
  export const console: Console & {
    /** As it is, without a line end. */
    write(text: string): void;
    /** The next line typed, without its end; null at the end of input (^D). */
    readLine(prompt?: string): Promise<string | null>;
    lines(): AsyncIterable<string>;
  };

  export const clock: {
    /** Milliseconds since the host started; never steps. */
    now(): number;
    /** Milliseconds for which this vCPU has run; stands still while it sleeps or waits for a CPU. */
    virtual(): number;
    /** The wall clock; also behind `Date`. */
    date(): Date;
    sleep(ms: number): Promise<void>;
    /** A beat every `ms`, without drift; beats nobody had time for are skipped. */
    every(ms: number): AsyncIterable<number>;
  };

  export const system: {
    readonly domid: number;
    readonly name: string;
    /** MiB. */
    readonly memory: number;
    /** The whole command line, and its words: `key=value`, or `key` alone, which is true. */
    readonly cmdline: string;
    readonly args: Readonly<Record<string, string | true>>;
    /** Run before the domain ends, also when `xl shutdown` asks for it; the last added first. */
    onShutdown(hook: () => unknown): void;
    shutdown(): void;
    reboot(): void;
    /** Nodes of xenstore, absolute or below this domain's own directory. */
    readonly store: {
      /** ENOENT when there is no such node. */
      read(path: string): Promise<string>;
      write(path: string, value: string): Promise<void>;
      list(path: string): Promise<string[]>;
      /** `changed` is called at once, then after every change at the node or below. Returns how to stop. */
      watch(path: string, changed: (path: string) => void): Promise<() => Promise<void>>;
    };
  };

  // ---- processes ----

  export interface SpawnOptions {
    readonly env?: Readonly<Record<string, string>>;
    /** Default: the root. */
    readonly cwd?: string;
    /** Default 'null': nothing is there to read. */
    readonly stdin?: 'null' | 'pipe';
    /** Default 'console'. */
    readonly stdout?: 'console' | 'pipe' | 'null';
    readonly stderr?: 'console' | 'pipe' | 'null';
  }
  export interface ProcessInput {
    /** Resolves when the pipe holds all of it; EPIPE when the process reads no more. */
    write(data: Uint8Array | string): Promise<void>;
    end(): void;
  }
  export interface ProcessOutput extends AsyncIterable<Uint8Array> {
    /** At least a byte; null at the end. What nobody reads has the process wait. */
    read(): Promise<Uint8Array | null>;
    /** All of it, as UTF-8. */
    text(): Promise<string>;
  }
  export interface ChildProcess {
    readonly pid: number;
    /** Where 'pipe' was asked for. */
    readonly stdin: ProcessInput | undefined;
    readonly stdout: ProcessOutput | undefined;
    readonly stderr: ProcessOutput | undefined;
    /** 'SIGTERM' unless said; 'SIGSTOP' and 'SIGCONT' stop it and have it go on. */
    kill(signal?: string): void;
    /** `code` is 128 and the signal's number for one that a signal ended; 126 or 127 for what could not be run. */
    wait(): Promise<{ readonly code: number; readonly signal?: string }>;
  }
  export interface ProcessInfo {
    readonly pid: number;
    readonly ppid: number;
    readonly argv: readonly string[];
    /** Bytes. */
    readonly memory: number;
    readonly cpuMs: number;
  }
  /** WASI programs, and scripts, of the root file system, beside this program and on vCPU 0 as it is. */
  export const processes: {
    /** `path`: of a file, or a name that is looked up in /bin and /usr/bin. EAGAIN when there are too many. */
    spawn(path: string, args?: readonly string[], options?: SpawnOptions): ChildProcess;
    list(): ProcessInfo[];
  };
}
