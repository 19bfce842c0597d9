// Asks servers for the addresses of names. Each question has an id and a port that are not to be guessed (RFC 5452).
import { type Clock, XenError } from '#pvbus';
import { WaitQueue } from '../../wait-queue.ts';
import { IpAddress } from '../ip-address.ts';
import type { Tcp } from '../tcp/tcp.ts';
import type { Udp, UdpSocket } from '../udp.ts';
import { AnswerCache } from './answer-cache.ts';
import { type Answer, encodeQuery, isTruncated, readAnswer, TYPE_A, TYPE_AAAA } from './message.ts';
import { TcpQuestion } from './tcp-question.ts';

const PORT = 53;
const TRY_NS = 2e9;
/** The same over TCP, which has to connect first. */
const TCP_TRY_NS = 5e9;
/** Questions for one name, the servers in turn. */
const TRIES = 5;
export const MAX_LOOKUPS = 256;
const FIRST_PORT = 10_000;
const PORTS = 0x10000 - FIRST_PORT;

/** A name that is being looked up. */
export class NameLookup {
  readonly queue = new WaitQueue();
  readonly name: string;
  readonly type: number;
  found: readonly IpAddress[] | undefined;
  error: XenError | undefined;
  // The question that is out.
  id = 0;
  server: IpAddress | undefined;
  tries = 0;
  deadlineNs = 0;
  socket: UdpSocket | undefined;
  /** Where the answer to that was cut; what it held is used if no more is to be had. */
  question: TcpQuestion | undefined;
  cut: readonly IpAddress[] | undefined;

  constructor(name: string, type: number) {
    this.name = name;
    this.type = type;
  }
  /** What the name server has said, now or before. */
  settle({ addresses, nameExists }: Answer): void {
    const why = nameExists ? 'it has no such address' : 'there is no such name';
    if (addresses.length > 0) this.found = addresses;
    else this.error = new XenError('ENOENT', `${this.name}: ${why}`);
  }
  /** Undefined while it is not known. Throws ENOENT, ETIMEDOUT, EIO, EINVAL. */
  addresses(): readonly IpAddress[] | undefined {
    if (this.error !== undefined) throw this.error;
    return this.found;
  }
}

export class Resolver {
  readonly stats = { asked: 0, answered: 0, ignored: 0, byTcp: 0 };
  readonly cache: AnswerCache;
  private all: readonly IpAddress[] = [];
  private readonly udp: Udp;
  private readonly tcp: Tcp;
  private readonly clock: Clock;
  private readonly random: () => number;
  private readonly pending = new Set<NameLookup>();
  /** Those whose connection has changed. */
  private readonly woken = new Set<NameLookup>();

  constructor(udp: Udp, tcp: Tcp, clock: Clock, random: () => number) {
    this.udp = udp;
    this.tcp = tcp;
    this.cache = new AnswerCache(clock);
    this.clock = clock;
    this.random = random;
  }

  /** The first is asked first. */
  get servers(): readonly IpAddress[] {
    return this.all;
  }
  /** Others may know other names. */
  set servers(servers: readonly IpAddress[]) {
    const same = servers.length === this.all.length && servers.every((each, i) => each.equals(this.all[i]!));
    if (!same) this.cache.clear();
    this.all = servers;
  }

  /** Begin to look up the addresses of `family` of a name; a name that is an address is that. */
  lookup(text: string, family: 4 | 6 = 4): NameLookup {
    const name = text.toLowerCase().replace(/\.$/, '');
    const lookup = new NameLookup(name, family === 4 ? TYPE_A : TYPE_AAAA);
    const address = IpAddress.parse(text) ?? (name === 'localhost' ? LOCALHOST[family] : undefined);
    const known =
      address === undefined ? this.cache.find(name, lookup.type) : { addresses: [address], nameExists: true, ttl: 0 };
    if (known !== undefined) lookup.settle(known);
    else if (this.servers.length === 0)
      lookup.error = new XenError('ENOENT', `${name}: there is no name server: nameserver=ADDRESS`);
    else if (this.pending.size >= MAX_LOOKUPS)
      lookup.error = new XenError('EAGAIN', `${name}: ${MAX_LOOKUPS} names are looked up already`);
    else {
      this.pending.add(lookup);
      this.ask(lookup);
    }
    return lookup;
  }

  step(): 'progress' | 'idle' {
    if (this.pending.size === 0) return 'idle';
    const now = this.clock.now();
    let result: 'progress' | 'idle' = 'idle';
    for (const lookup of this.woken) {
      this.woken.delete(lookup);
      this.converse(lookup);
      result = 'progress';
    }
    for (const lookup of [...this.pending]) {
      if (lookup.deadlineNs > now) continue;
      if (lookup.question === undefined) this.ask(lookup);
      else this.noMore(lookup, new XenError('ETIMEDOUT', `${lookup.name}: no name server answers`));
      result = 'progress';
    }
    return result;
  }
  deadline(): number | undefined {
    if (this.woken.size > 0) return 0;
    let first: number | undefined;
    for (const { deadlineNs } of this.pending) if (first === undefined || deadlineNs < first) first = deadlineNs;
    return first;
  }

  /** The next server, with a new id and port. */
  private ask(lookup: NameLookup, because = new XenError('ETIMEDOUT', `${lookup.name}: no name server answers`)): void {
    if (lookup.tries >= TRIES) {
      this.finish(lookup, because);
      return;
    }
    try {
      const server = this.servers[lookup.tries % this.servers.length]!;
      lookup.tries++;
      lookup.deadlineNs = this.clock.now() + TRY_NS;
      lookup.id = Math.floor(this.random() * 0x10000);
      lookup.server = server;
      this.hangUp(lookup);
      lookup.socket = this.socket();
      lookup.socket.onMessage((data, from) => this.heard(lookup, data, from.address, from.port));
      this.stats.asked++;
      lookup.socket.sendTo(encodeQuery(lookup.id, lookup.name, lookup.type), {
        address: server.toString(),
        port: PORT,
      });
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      this.finish(lookup, error);
    }
  }
  private heard(lookup: NameLookup, data: Uint8Array, address: string, port: number): void {
    const { id, name, type, server } = lookup;
    // untrusted: only from the one that was asked, to the question that was put.
    const answer = address === server?.toString() && port === PORT ? readAnswer(data, id, name, type) : undefined;
    if (answer === undefined) {
      this.stats.ignored++;
      return;
    }
    this.stats.answered++;
    if (isTruncated(data)) this.askByTcp(lookup, answer);
    else this.answered(lookup, answer);
  }
  private answered(lookup: NameLookup, answer: Answer | 'failed'): void {
    const { name, type } = lookup;
    if (answer === 'failed') {
      this.ask(lookup, new XenError('EIO', `${name}: the name servers fail`));
      return;
    }
    this.cache.keep(name, type, answer);
    lookup.settle(answer);
    this.finish(lookup);
  }

  private askByTcp(lookup: NameLookup, cut: Answer | 'failed'): void {
    lookup.cut = cut !== 'failed' && cut.addresses.length > 0 ? cut.addresses : undefined;
    this.hangUp(lookup);
    lookup.deadlineNs = this.clock.now() + TCP_TRY_NS;
    this.stats.byTcp++;
    try {
      const query = encodeQuery(lookup.id, lookup.name, lookup.type);
      lookup.question = new TcpQuestion(this.tcp, lookup.server!, PORT, query);
      this.listen(lookup);
    } catch (error) {
      this.noMore(lookup, error);
    }
  }
  private listen(lookup: NameLookup): void {
    const { question } = lookup;
    question?.queue.add(() => {
      if (lookup.question === question) this.woken.add(lookup);
    });
  }
  private converse(lookup: NameLookup): void {
    const { question, id, name, type } = lookup;
    if (question === undefined) return;
    try {
      const message = question.step();
      if (message === undefined) {
        this.listen(lookup);
        return;
      }
      const answer = message === 'ended' ? undefined : readAnswer(message, id, name, type);
      if (answer === undefined) this.noMore(lookup, new XenError('EIO', `${name}: the name servers fail`));
      else this.answered(lookup, answer);
    } catch (error) {
      this.noMore(lookup, error);
    }
  }
  /** It cannot be had by TCP. */
  private noMore(lookup: NameLookup, error: unknown): void {
    if (!(error instanceof XenError)) throw error;
    if (lookup.cut === undefined) this.ask(lookup, error);
    else {
      lookup.found = lookup.cut;
      this.finish(lookup);
    }
  }
  private finish(lookup: NameLookup, error?: XenError): void {
    this.pending.delete(lookup);
    this.hangUp(lookup);
    lookup.error ??= error;
    lookup.queue.wakeAll();
  }
  private hangUp(lookup: NameLookup): void {
    const { question } = lookup;
    lookup.question = undefined;
    question?.close();
    lookup.socket?.close();
    lookup.socket = undefined;
  }
  private socket(): UdpSocket {
    for (let tries = 0; ; tries++) {
      try {
        return this.udp.bind(FIRST_PORT + Math.floor(this.random() * PORTS));
      } catch (error) {
        if (tries === 100) throw error;
      }
    }
  }
}

const LOCALHOST = { 4: IpAddress.v4(0x7f000001), 6: IpAddress.of(0, 0, 0, 1) } as const;
