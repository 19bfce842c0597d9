// Domains made of nothing but bytes, with a xenstore that says OK to everything: the engine compiles code when it has
// run, and the first domains of a host are not to wait for that. Nobody hears of it: no hypercall, no file.
import {
  domid as asDomid,
  port as asPort,
  checkRequest,
  type DomainConfig,
  type Domid,
  encodeFrame,
  FrameDecoder,
  gfn,
  privatePage,
  RingTransport,
  type ToolstackReply,
  XENSTORE_RING_SIZE,
  XenstoreClient,
  XenstoreFrameReader,
  XS_TRANSACTION_START,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import { EagerRing } from '../store-ring.ts';
import { domainNodes, NodeWriting, removeDomainNodes, ringNodes } from './domain-nodes.ts';

/** Beyond about so many the next domain takes no less time. */
const ROUNDS = 30;
/** Between two, for whoever wants something. */
const PAUSE_MS = 2;

const CONFIG: DomainConfig = {
  name: 'rehearsal',
  uuid: '00000000-0000-4000-8000-000000000000',
  type: 'pv',
  memory: 32,
  maxmem: 32,
  vcpus: 1,
  maxvcpus: 1,
  kernel: '/nowhere/kernel.js',
  ramdisk: '/nowhere/program.js',
  cmdline: '',
  disks: [],
  vifs: [],
  pvcalls: [],
  p9: [],
  on_poweroff: 'destroy',
  on_reboot: 'restart',
  on_crash: 'destroy',
  on_watchdog: 'destroy',
  on_soft_reset: 'soft-reset',
  driver_domain: false,
  cpu_weight: null,
  cap: null,
  cpus: null,
  cpus_soft: null,
  period: null,
  budget: null,
  extratime: null,
  pool: null,
  seclabel: null,
  max_grant_frames: null,
  max_maptrack_frames: null,
  max_event_channels: null,
  rtc_timeoffset: null,
  localtime: null,
  confine: null,
  extra: {},
  source: '/nowhere/rehearsal.cfg',
};
const RINGS = { storeGfn: gfn(1), storePort: asPort(1), consoleGfn: gfn(2), consolePort: asPort(2) };
const PHASES = ['config', 'domain', 'memory', 'xenstore', 'introduce', 'devices', 'unpause'];

/** A xenstore without nodes, at the other end of a ring. */
export class YesStore {
  readonly client: XenstoreClient;
  /** How many requests it has answered. */
  answered = 0;
  readonly #page = privatePage();
  readonly #end = xenstoreRing(this.#page, 'back');
  readonly #ring = new EagerRing(new RingTransport(this.#page, () => setImmediate(() => this.#serve())));
  readonly #frames = new XenstoreFrameReader();
  readonly #chunk = new Uint8Array(XENSTORE_RING_SIZE);
  #replies: Uint8Array = new Uint8Array(0);

  constructor() {
    this.client = new XenstoreClient(this.#ring);
  }
  #serve(): void {
    const chunk = this.#chunk.subarray(0, this.#end.reader.read(this.#chunk));
    const replies = [this.#replies];
    for (let at = 0; at < chunk.length; ) {
      at += this.#frames.take(chunk, at);
      if (!this.#frames.complete) continue;
      const { type, req_id, tx_id } = this.#frames.frame;
      replies.push(xenstoreFrame(type, req_id, tx_id, type === XS_TRANSACTION_START ? ONE : OK));
      this.answered++;
    }
    const all = Buffer.concat(replies);
    const given = this.#end.writer.write(all);
    this.#replies = all.subarray(given);
    if (chunk.length > 0 || given > 0) this.#ring.step();
  }
}
const OK = Buffer.from('OK\0');
const ONE = Buffer.from('1\0');

/** Resolves when it is over; what else this thread has to do is done meanwhile. Returns what was asked of it. */
export async function rehearseCreation(rounds = ROUNDS): Promise<YesStore> {
  const store = new YesStore();
  const decoder = new FrameDecoder();
  for (let round = 1; round <= rounds; round++) {
    const uuid = CONFIG.uuid.slice(0, -4) + String(1000 + round);
    const request = { id: round, op: 'create', args: { config: { ...CONFIG, uuid }, paused: false, monitor: true } };
    for (const message of decoder.push(encodeFrame(request))) {
      const checked = checkRequest(message);
      if (checked.op === 'create') await create(store.client, asDomid(round), checked.args.config);
    }
    for (const phase of PHASES)
      encodeFrame({ id: round, event: { event: 'phase', phase, ms: 0.5 } } satisfies ToolstackReply);
    encodeFrame({ id: round, result: { domid: round } } satisfies ToolstackReply);
    await new Promise(resolve => setTimeout(resolve, PAUSE_MS));
  }
  return store;
}
async function create(xs: XenstoreClient, domid: Domid, config: DomainConfig): Promise<void> {
  const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
  const nodes = new NodeWriting(xs);
  await turn();
  nodes.add(domainNodes({ domid, config, startTime: 0 }));
  await turn();
  nodes.add(ringNodes(domid, RINGS));
  nodes.commit();
  const introduced = xs.introduce(domid, RINGS.storeGfn, RINGS.storePort);
  await nodes.done;
  await introduced;
  await removeDomainNodes(xs, domid, config.uuid, []);
}
