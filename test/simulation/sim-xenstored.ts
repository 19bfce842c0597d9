// xenstored as its process has it: the real server on its vCPU of dom0, with a real journal on a simulated disk,
// and the sockets of dom0's programs. It may be killed at any system call; the next one goes on.
import type { Vcpu, XenstoreTransport } from '#pvbus';
import { FileDisk } from '../../dom0/journal-file.ts';
import type { Connection } from '../../dom0/xenstored/connection.ts';
import { Journal } from '../../dom0/xenstored/journal.ts';
import { Replay } from '../../dom0/xenstored/replay.ts';
import { Server } from '../../dom0/xenstored/server.ts';
import { nodePieces } from '../../dom0/xenstored/snapshot.ts';
import { VcpuDoor } from '../../dom0/xenstored/vcpu-door.ts';
import { LineLog } from '../support/core-rig.ts';
import type { Part } from './part.ts';
import type { SimHost } from './sim-host.ts';
import { Killed, SimProcess } from './sim-process.ts';
import { Violation } from './violation.ts';

/** xenstored's vCPU of domain 0. */
const VCPU = 1;
const JOURNAL = '/xenstored.journal';
const CHECK_NS = 1e9;

/** A program's connection to xenstored: two queues of bytes. */
export class StoreSocket implements XenstoreTransport {
  readonly toServer: Uint8Array[] = [];
  readonly toClient: Uint8Array[] = [];
  connection: Connection | undefined;
  closed = false;
  #onData: (bytes: Uint8Array) => void = () => {};
  #onClose: (reason: string) => void = () => {};

  send(bytes: Uint8Array): void {
    if (!this.closed) this.toServer.push(bytes);
  }
  onData(cb: (bytes: Uint8Array) => void): void {
    this.#onData = cb;
  }
  onClose(cb: (reason: string) => void): void {
    this.#onClose = cb;
  }
  close(): void {
    this.closed = true;
  }
  /** The daemon is gone, and what it has not sent is too. */
  lose(): void {
    if (this.closed) return;
    this.closed = true;
    this.toClient.length = 0;
    this.#onClose('the daemon has gone');
  }
  /** The program reads. */
  hear(): boolean {
    const bytes = this.toClient.shift();
    if (bytes) this.#onData(bytes);
    return bytes !== undefined;
  }
}

export class SimXenstored implements Part {
  readonly name = 'xenstored';
  process!: SimProcess;
  server!: Server;
  readonly #host: SimHost;
  #vcpu!: Vcpu;
  #sockets: StoreSocket[] = [];
  #progress = true;
  #nextCheck = 0;
  #restartAt = 0;

  constructor(host: SimHost) {
    this.#host = host;
    this.#start(true);
  }

  #start(first: boolean): void {
    const { core, files, events, mutations, clock } = this.#host;
    const process = new SimProcess(core, this.name);
    const log = this.#host.logOf('xenstored', process);
    this.process = process;
    process.onDeath = () => this.#died();
    process.onTrapped = () => this.#host.xen.poke();
    if (!first) core.replaceThread(core.dom0.domain.vcpus[VCPU]!);
    this.#vcpu = process.thread(core.dom0, VCPU);
    events.install(process, this.#vcpu, () => true);
    const journal = new Journal({ clock, log });
    const door = new VcpuDoor(this.#vcpu);
    this.server = new Server({ door, clock, log, onWork: () => {}, recorder: journal });
    const calls = files.of(process);
    const disk = new FileDisk(JOURNAL, mutations.journalCalls?.(calls, process) ?? calls);
    if (first) journal.begin(this.server, disk);
    else journal.recover(this.server, disk);
    this.#progress = true;
  }
  #died(): void {
    this.#host.saw('xenstored died');
    this.#restartAt = this.#host.clock.now() + this.#host.absenceNs();
    for (const socket of this.#sockets.splice(0)) socket.lose();
    this.#host.promised = true; // who waited for an answer hears of it, also when nobody has anything else to do
  }

  connect(): StoreSocket {
    const socket = new StoreSocket();
    if (!this.process.alive) socket.closed = true;
    else this.#sockets.push(socket);
    return socket;
  }

  ready(): boolean {
    const now = this.#host.clock.now();
    if (!this.process.alive) return now >= this.#restartAt;
    if (this.#progress || this.server.hasWork || now >= this.deadline()) return true;
    if (this.#vcpu.events.pending() || this.#vcpu.wakeWords.changed()) return true;
    return this.#sockets.some(socket => socket.toServer.length > 0);
  }
  deadline(): number {
    if (!this.process.alive) return this.#restartAt;
    return Math.min(this.server.deadline, this.#nextCheck);
  }
  step(): boolean {
    try {
      if (!this.process.alive) {
        this.#start(false);
        this.#host.saw('xenstored came back');
        return true;
      }
      this.#progress = this.#turn();
      return this.#progress;
    } catch (error) {
      if (!(error instanceof Killed) && this.process.alive) throw error;
      this.#host.saw('xenstored died in a system call');
      return true;
    }
  }
  /** As dom0/xenstored/daemon.ts has it. */
  #turn(): boolean {
    const { server } = this;
    const now = this.#host.clock.now();
    let progress = this.#vcpu.events.poll();
    for (const socket of this.#sockets) if (this.#take(socket)) progress = true;
    if (server.step() === 'progress') progress = true;
    if (now >= this.#nextCheck) {
      this.#nextCheck = now + CHECK_NS;
      server.checkStalled();
    }
    for (const socket of this.#sockets) if (this.#give(socket)) progress = true;
    this.#sockets = this.#sockets.filter(socket => !socket.closed);
    return progress;
  }
  #take(socket: StoreSocket): boolean {
    if (socket.closed) {
      if (socket.connection) this.server.drop(socket.connection);
      return true;
    }
    socket.connection ??= this.server.accept(() => {});
    if (socket.toServer.length === 0) return false;
    const bytes = Buffer.concat(socket.toServer.splice(0));
    const n = socket.connection.receive(bytes);
    if (n >= 0 && n < bytes.length) socket.toServer.unshift(bytes.subarray(n));
    return n !== 0;
  }
  #give(socket: StoreSocket): boolean {
    let gave = false;
    if (!socket.closed)
      socket.connection?.drain(bytes => {
        socket.toClient.push(bytes.slice());
        gave = true;
        return bytes.length;
      });
    return gave;
  }

  // ---- judging ----

  /** I7: what there is is what its journal says, and the tree is one. */
  check(): void {
    if (!this.process.alive) return;
    const wrong = this.server.check();
    if (wrong !== undefined) throw new Violation('I7', `xenstored's tree: ${wrong}`);
    const journal = this.#host.files.contents(JOURNAL);
    if (!journal) throw new Violation('I7', 'xenstored has no journal');
    const log = new LineLog();
    const other = new Server({ clock: this.#host.clock, log, onWork: () => {} });
    new Replay(other, log).take(journal);
    const [is, was] = [this.server, other].map(server => JSON.stringify([...nodePieces(server.store.tree.root)]));
    if (is !== was) throw new Violation('I7', `xenstored's tree is not what its journal says\n${is}\n${was}`);
  }
  /** Every path there is. */
  paths(): string[] {
    const found: string[] = [];
    const names: string[] = [];
    for (const piece of nodePieces(this.server.store.tree.root))
      for (const [depth, name] of piece) {
        names.length = Math.max(0, depth - 1);
        if (depth > 0) names.push(name);
        found.push(`/${names.join('/')}`);
      }
    return found.sort();
  }
}
