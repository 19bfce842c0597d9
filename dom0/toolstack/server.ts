// The toolstack's door: a unix socket of node-ipc, raw buffers, frames of pvbus/toolstack-frames.ts.
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import {
  domid as asDomid,
  checkRequest,
  ERROR_DOMAIN_NOTFOUND,
  ERROR_FAIL,
  ERROR_INVAL,
  ERROR_NI,
  ERROR_NOMEM,
  ERROR_TIMEDOUT,
  encodeFrame,
  FrameDecoder,
  type Log,
  requestId,
  type ToolstackError,
  type ToolstackEvent,
  type ToolstackReply,
  type ToolstackRequest,
  XenError,
} from '#pvbus';
import { sameUser } from '../same-user.ts';
import type { Toolstack } from './toolstack.ts';

/** What we use of node-ipc, which brings no types. */
interface IpcServer {
  on(event: 'connect', listener: (socket: Socket) => void): void;
  on(event: 'data', listener: (bytes: Buffer, socket: Socket) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  emit(socket: Socket, bytes: Uint8Array): void;
  start(): void;
  stop(): void;
}
interface Ipc {
  config: Record<string, unknown>;
  serve(path: string, started: () => void): void;
  server: IpcServer;
}
/** Loaded when it is needed, or there is time: nobody's disk is to wait for it. */
export const loadIpc = () => createRequire(import.meta.url)('node-ipc') as { IPC: new () => Ipc };

const MAX_CONNECTIONS = 256;
/** Requests of one connection that are being worked on. */
const MAX_REQUESTS = 64;
/** Events wait so long for the reply, which may be about to follow: a packet less is a wake-up less of the tool. */
const EVENT_MS = 5;
/** A tool that does not read its replies is cut off at this. */
const MAX_UNREAD = 8 << 20;

interface Connection {
  readonly socket: Socket;
  readonly decoder: FrameDecoder;
  readonly active: Set<number>;
  /** Aborted when the tool is gone. */
  readonly gone: AbortController;
  readonly subscriptions: (() => void)[];
  /** Sends the events that wait. */
  events: NodeJS.Timeout | undefined;
}

export class ToolstackServer {
  readonly #toolstack: Toolstack;
  readonly #log: Log;
  readonly #shutdownHost: () => void;
  readonly #ipc = new (loadIpc().IPC)();
  readonly #connections = new Map<Socket, Connection>();

  private constructor(toolstack: Toolstack, log: Log, shutdownHost: () => void) {
    this.#toolstack = toolstack;
    this.#log = log;
    this.#shutdownHost = shutdownHost;
  }

  /** `shutdownHost` is called once all domains are gone and the tool that asked has its reply. */
  static async listen(
    path: string,
    toolstack: Toolstack,
    log: Log,
    shutdownHost: () => void,
  ): Promise<ToolstackServer> {
    const server = new ToolstackServer(toolstack, log, shutdownHost);
    await server.#listen(path);
    return server;
  }

  close(): void {
    this.#ipc.server.stop();
    for (const { socket } of this.#connections.values()) socket.destroy();
  }

  #listen(path: string): Promise<void> {
    const ipc = this.#ipc;
    // latin1: node-ipc hands bytes on as text, and latin1 is the text that keeps every byte.
    Object.assign(ipc.config, { rawBuffer: true, encoding: 'latin1', silent: true, maxConnections: MAX_CONNECTIONS });
    return new Promise((resolve, reject) => {
      ipc.serve(path, resolve);
      ipc.server.on('error', error => {
        reject(error); // of listening; of a connection later, where it has no effect
      });
      ipc.server.on('connect', socket => this.#connect(socket));
      ipc.server.on('data', (bytes, socket) => this.#receive(bytes, socket));
      ipc.server.start();
    });
  }

  #connect(socket: Socket): void {
    if (!sameUser(socket)) {
      this.#log.warn('toolstack: a process of another user was turned away');
      socket.destroy();
      return;
    }
    // node-ipc tells of a closed socket too, but not which.
    socket.once('close', () => this.#disconnect(socket));
    this.#connections.set(socket, {
      socket,
      decoder: new FrameDecoder(),
      active: new Set(),
      gone: new AbortController(),
      subscriptions: [],
      events: undefined,
    });
  }
  #disconnect(socket: Socket): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    this.#connections.delete(socket);
    clearTimeout(connection.events);
    connection.gone.abort();
    for (const undo of connection.subscriptions) undo();
  }

  #receive(bytes: Buffer, socket: Socket): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    try {
      for (const message of connection.decoder.push(bytes)) this.#hear(connection, message);
    } catch (error) {
      // untrusted: a stream that cannot be decoded any further.
      this.#log.warn(`toolstack: a tool was cut off: ${error instanceof Error ? error.message : error}`);
      socket.destroy();
    }
  }

  #hear(connection: Connection, message: unknown): void {
    const id = requestId(message);
    if (id === null) throw new XenError('EPROTO', 'a request without an id');
    if (connection.active.has(id) || connection.active.size >= MAX_REQUESTS) {
      throw new XenError('EPROTO', `request ${id}: its id is in use, or too many are unanswered`);
    }
    connection.active.add(id);
    void this.#answer(connection, id, message);
  }
  async #answer(connection: Connection, id: number, message: unknown): Promise<void> {
    let reply: ToolstackReply;
    try {
      const request = checkRequest(message);
      reply = { id, result: await this.#act(connection, request) };
    } catch (error) {
      reply = { id, error: toolstackError(error) };
    }
    connection.active.delete(id);
    this.#send(connection, reply);
    this.#flush(connection);
  }

  async #act(connection: Connection, request: ToolstackRequest): Promise<unknown> {
    const toolstack = this.#toolstack;
    const tell = (event: ToolstackEvent): void => this.#tell(connection, { id: request.id, event });
    switch (request.op) {
      case 'create': {
        const { config, paused, monitor } = request.args;
        const onPhase = (phase: string, ms: number): void => tell({ event: 'phase', phase, ms });
        return { domid: await toolstack.create(config, { paused, monitor }, onPhase) };
      }
      case 'run': {
        const { config, program } = request.args;
        const onPhase = (phase: string, ms: number): void => tell({ event: 'phase', phase, ms });
        return { domid: await toolstack.run(config, program, onPhase, connection.gone.signal) };
      }
      case 'runEnd':
        return toolstack.runEnd(asDomid(request.args.domid), connection.gone.signal);
      case 'destroy':
        await toolstack.destroy(asDomid(request.args.domid));
        return null;
      case 'pause':
        toolstack.pause(asDomid(request.args.domid));
        return null;
      case 'unpause':
        toolstack.unpause(asDomid(request.args.domid));
        return null;
      case 'shutdown':
        await toolstack.shutdown(asDomid(request.args.domid), 'poweroff');
        return null;
      case 'reboot':
        await toolstack.shutdown(asDomid(request.args.domid), 'reboot');
        return null;
      case 'list':
        return toolstack.list(request.args.domid === null ? null : asDomid(request.args.domid));
      case 'config':
        return toolstack.config(asDomid(request.args.domid));
      case 'info':
        return toolstack.info();
      case 'dmesg':
        return { text: toolstack.dmesg(request.args.clear) };
      case 'debugKeys':
        toolstack.debugKeys(request.args.keys);
        return null;
      case 'domid':
        return { domid: await toolstack.domid(request.args.name) };
      case 'domname':
        return { name: await toolstack.domname(asDomid(request.args.domid)) };
      case 'rename':
        await toolstack.rename(asDomid(request.args.domid), request.args.name);
        return null;
      case 'setMemoryTarget':
        await toolstack.setMemoryTarget(asDomid(request.args.domid), request.args.kib);
        return null;
      case 'setVcpus':
        await toolstack.setVcpus(asDomid(request.args.domid), request.args.count);
        return null;
      case 'setMaxMemory':
        await toolstack.setMaxMemory(asDomid(request.args.domid), request.args.kib);
        return null;
      case 'dumpCore':
        await toolstack.dumpCore(asDomid(request.args.domid), request.args.path);
        return null;
      case 'updateConfig':
        await toolstack.updateConfig(asDomid(request.args.domid), request.args.config);
        return null;
      case 'console':
        return { path: toolstack.console(asDomid(request.args.domid)) };
      case 'attachDisk':
        await toolstack.attachDisk(asDomid(request.args.domid), request.args.disk);
        return null;
      case 'attachVif': {
        const { domid, vif, anyDevid } = request.args;
        return { devid: await toolstack.attachVif(asDomid(domid), vif, anyDevid) };
      }
      case 'detach': {
        const { domid, type, devid, force } = request.args;
        await toolstack.detach(asDomid(domid), type, devid, force);
        return null;
      }
      case 'exportDisk': {
        const { result, stop } = toolstack.exportDisk(request.args);
        connection.subscriptions.push(stop);
        return result;
      }
      case 'wait':
        return toolstack.wait(asDomid(request.args.domid), request.args.until, connection.gone.signal);
      case 'trace': {
        const unread = (): number => connection.socket.writableLength;
        const { cpus, since, stop } = toolstack.tracing.start(request.args.events, { tell, unread });
        connection.subscriptions.push(stop);
        return { cpus, since };
      }
      case 'history':
        return toolstack.history(request.args.from);
      case 'restarts':
        return toolstack.restarts();
      case 'topologies':
        return toolstack.topologies.all();
      case 'noteTopology':
        toolstack.topologies.set(request.args);
        return null;
      case 'addFaults':
        await toolstack.faults.add(request.args.plan);
        return null;
      case 'runFaults':
        await toolstack.faults.add(request.args.plan);
        this.#endWith(connection, request.args.plan.name);
        return null;
      case 'removeFaults':
        return toolstack.faults.remove(request.args.plan, request.args.fault);
      case 'faults':
        return toolstack.faults.list();
      case 'subscribe':
        connection.subscriptions.push(toolstack.subscribe(tell));
        return null;
      case 'createBridge':
        await toolstack.createBridge(request.args.name, request.args.mtu);
        return null;
      case 'deleteBridge':
        await toolstack.deleteBridge(request.args.name);
        return null;
      case 'bridges':
        return toolstack.bridges();
      case 'addBridgePort':
        await toolstack.addBridgePort(request.args.bridge, request.args.port);
        return null;
      case 'removeBridgePort':
        await toolstack.removeBridgePort(request.args.bridge, request.args.port);
        return null;
      case 'capture': {
        const unread = (): number => connection.socket.writableLength;
        const { capture, stop } = await toolstack.captures.begin(request.args, { tell, unread });
        connection.subscriptions.push(stop);
        return { capture };
      }
      case 'endCapture':
        await toolstack.captures.end(request.args.capture);
        return null;
      case 'vcpus':
        return toolstack.scheduling.vcpus(request.args.domid === null ? null : asDomid(request.args.domid));
      case 'pinVcpu':
        toolstack.scheduling.pin(request.args);
        return null;
      case 'shares':
        return toolstack.scheduling.shares(request.args.domid === null ? null : asDomid(request.args.domid));
      case 'setCredit':
        toolstack.scheduling.setCredit(request.args);
        return null;
      case 'setRtds':
        toolstack.scheduling.setRtds(request.args);
        return null;
      case 'setPoolParams':
        await toolstack.scheduling.setParams(request.args);
        return null;
      case 'cpupools':
        return toolstack.scheduling.pools();
      case 'createPool':
        return { id: await toolstack.scheduling.create(request.args) };
      case 'destroyPool':
        await toolstack.scheduling.destroy(request.args.pool);
        return null;
      case 'renamePool':
        await toolstack.scheduling.rename(request.args.pool, request.args.name);
        return null;
      case 'addPoolCpu':
        await toolstack.scheduling.addCpu(request.args.pool, request.args.cpu);
        return null;
      case 'removePoolCpu':
        await toolstack.scheduling.removeCpu(request.args.pool, request.args.cpu);
        return null;
      case 'moveToPool':
        await toolstack.scheduling.move(asDomid(request.args.domid), request.args.pool);
        return null;
      case 'counters':
        return toolstack.counters();
      case 'shutdownHost':
        await toolstack.destroyAll();
        // order: the reply first; afterwards nobody is left to send it.
        setImmediate(() => connection.socket.end(() => this.#shutdownHost()));
        return null;
    }
  }

  /** The plan ends when the tool is gone. */
  #endWith({ gone, subscriptions }: Connection, plan: string): void {
    const end = (): void => {
      this.#toolstack.faults.remove(plan, null).catch(error => {
        if (error.code !== 'ENOENT') this.#log.error(`toolstack: end of plan ${plan}: ${error.message}`);
      });
    };
    if (gone.signal.aborted) end();
    else subscriptions.push(end);
  }

  #tell(connection: Connection, event: ToolstackReply): void {
    const { socket } = connection;
    if (connection.events === undefined) {
      socket.cork();
      connection.events = setTimeout(() => this.#flush(connection), EVENT_MS);
    }
    this.#send(connection, event);
  }
  #flush(connection: Connection): void {
    if (connection.events === undefined) return;
    clearTimeout(connection.events);
    connection.events = undefined;
    connection.socket.uncork();
  }
  #send(connection: Connection, reply: ToolstackReply): void {
    const { socket } = connection;
    if (socket.destroyed || !socket.writable) return; // the tool went away meanwhile
    if (socket.writableLength > MAX_UNREAD) {
      this.#log.warn('toolstack: a tool does not read its replies, cut off');
      socket.destroy();
      return;
    }
    this.#ipc.server.emit(socket, encode(reply));
  }
}

/** A reply that is too long for a frame becomes the error that says so. */
function encode(reply: ToolstackReply): Uint8Array {
  try {
    return encodeFrame(reply);
  } catch (error) {
    return encodeFrame({ id: reply.id, error: toolstackError(error) } satisfies ToolstackReply);
  }
}

const RC: Readonly<Record<string, number>> = {
  EINVAL: ERROR_INVAL,
  EEXIST: ERROR_INVAL,
  ENOMEM: ERROR_NOMEM,
  ENOSYS: ERROR_NI,
  ESRCH: ERROR_DOMAIN_NOTFOUND,
  ETIMEDOUT: ERROR_TIMEDOUT,
};

/** One line for a person, an errno name and libxl's code for programs. */
function toolstackError(error: unknown): ToolstackError {
  const code = error instanceof XenError ? error.code : 'EIO';
  const message = error instanceof Error ? error.message : String(error);
  return { code, message: message.replaceAll('\n', ' '), rc: RC[code] ?? ERROR_FAIL };
}
