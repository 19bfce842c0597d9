// Whether domains have come to harm: by what is known of their ends, their devices, their consoles, the host's log, and of what their
// devices have done meanwhile.
import { existsSync, readFileSync } from 'node:fs';
import {
  type DeviceCounters,
  type DomainInfo,
  errorPath,
  type HostEvent,
  readKey,
  runPaths,
  stateName,
  XenbusState,
} from '#pvbus';
import { guestDevices } from '../commands/guest-devices.ts';
import { clientOf, type WatchedHost } from './faults.ts';
import { withXenstore } from './with-xenstore.ts';

/** How far each domain has come. */
export interface Progress {
  readonly [domain: string]: {
    /** What its disks and interfaces have done, and failed to do. */
    readonly devices: Done;
    /** Bytes of its console's log. */
    readonly said: number;
  };
}
type Done = Readonly<Record<string, { readonly done: number; readonly errors: number }>>;

/** How long a device may do nothing. */
const STILL_MS = 30_000;
/** How long one may be away. */
const CONNECTED_MS = 5000;
const LOOK_MS = 50;
const DEVICES = ['vbd', 'vif', '9pfs', 'pvcalls'];
/** SHUTDOWN_crash and SHUTDOWN_watchdog: what nobody has asked for. */
const BAD_ENDS: Readonly<Record<number, string>> = { 3: 'has crashed', 4: 'was ended by its watchdog' };
/** As every process of the host logs it: who, and of which kind. */
const TROUBLE = /^\S+ [a-z0-9-]+(?: [a-z0-9-]+)?: (?:warning|error): (.+)$/;
/** As guests' kernels say it on their console. */
const SAID = /^xenolith: (?:warning|error): .+$/;

export async function progress(host: WatchedHost): Promise<Progress> {
  const [counters, infos] = await Promise.all([(await clientOf(host).now()).call('counters', {}), host.domains()]);
  return Object.fromEntries(
    infos.map(({ domid, name }) => {
      const devices = doneBy(counters.find(one => one.domid === domid));
      return [name ?? `dom${domid}`, { devices, said: consoleLog(host, name ?? '').length }];
    }),
  );
}
function consoleLog({ runDir }: WatchedHost, name: string): Buffer {
  const path = runPaths(runDir).consoleLog(name);
  return existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
}
function doneBy(counters: DeviceCounters | undefined): Done {
  const { vbds = [], vifs = [] } = counters ?? {};
  return Object.fromEntries([
    ...vbds.map(({ devid, rd_req, wr_req }) => [`vbd ${devid}`, { done: rd_req + wr_req, errors: 0 }] as const),
    ...vifs.map(
      ({ devid, rx_packets, tx_packets, rx_errors, tx_errors }) =>
        [`vif ${devid}`, { done: rx_packets + tx_packets, errors: rx_errors + tx_errors }] as const,
    ),
  ]);
}

/** What is wrong with one of these domains, or undefined. `before`: each of them has done something since. `within`: ms, for each. */
export async function harmOf(
  host: WatchedHost,
  names: readonly string[],
  before?: Progress,
  within?: number,
): Promise<string | undefined> {
  const [infos, events] = await Promise.all([host.domains(), host.events()]);
  const log = host.log().split('\n');
  for (const name of names) {
    const info = infos.find(one => one.name === name);
    const ended = badEndOf(name, events);
    if (ended !== undefined) return `domain ${name} ${ended}`;
    if (info === undefined) return `domain ${name} is not there`;
    if (info.shutdown || info.dying) return `domain ${name} has ended`;
    const wrong =
      (await settledDeviceOf(host, info, within)) ??
      consoleOf(host, name, before) ??
      logOf(log, info) ??
      (before && (await stillOf(host, name, before, within)));
    if (wrong !== undefined) return `domain ${name}: ${wrong}`;
  }
  return undefined;
}

function badEndOf(name: string, events: readonly HostEvent[]): string | undefined {
  for (const event of events)
    if (event.event === 'domain' && event.name === name && event.what === 'shutdown' && event.reason !== null)
      if (BAD_ENDS[event.reason] !== undefined) return BAD_ENDS[event.reason];
  return undefined;
}

/** One that is being connected anew has a moment for that. */
async function settledDeviceOf(
  host: WatchedHost,
  info: Pick<DomainInfo, 'domid'>,
  within = CONNECTED_MS,
): Promise<string | undefined> {
  for (const deadline = performance.now() + within; ; ) {
    const wrong = await deviceOf(host, info);
    if (wrong === undefined || performance.now() > deadline) return wrong;
    await new Promise(resolve => setTimeout(resolve, LOOK_MS));
  }
}
async function deviceOf(host: WatchedHost, { domid }: Pick<DomainInfo, 'domid'>): Promise<string | undefined> {
  return withXenstore(host, async xs => {
    for (const type of DEVICES)
      for (const { devid, backend, backendKey, frontendKey } of await guestDevices(xs, domid, type)) {
        const which = `${type} ${devid}`;
        for (const end of [backend, `/local/domain/${domid}/device/${type}/${devid}`]) {
          const error = await readKey(xs, errorPath(end));
          if (error !== undefined) return `${which} has failed: ${error}`;
        }
        const states = [Number(await frontendKey('state')), Number(await backendKey('state'))];
        const odd = states.find(state => state !== XenbusState.Connected);
        if (odd !== undefined) return `${which} is ${stateName(odd as XenbusState)}`; // one that is none has a name too
      }
    return undefined;
  });
}

function consoleOf(host: WatchedHost, name: string, before?: Progress): string | undefined {
  const log = consoleLog(host, name);
  const from = before?.[name]?.said ?? 0;
  // One that was full has begun anew.
  const lines = log.toString('utf8', from <= log.length ? from : 0).split(/\r?\n/);
  const said = lines.find(line => SAID.test(line));
  return said && `its console says ${said}`;
}

function logOf(log: readonly string[], { domid }: Pick<DomainInfo, 'domid'>): string | undefined {
  const about = new RegExp(`\\bdom${domid}\\b|\\bvif${domid}\\.|/backend/[a-z0-9]+/${domid}/`);
  for (const line of log) {
    const [, what] = TROUBLE.exec(line) ?? [];
    if (what !== undefined && about.test(what)) return `the log says ${line}`;
  }
  return undefined;
}

async function stillOf(
  host: WatchedHost,
  name: string,
  before: Progress,
  within = STILL_MS,
): Promise<string | undefined> {
  const was = before[name]?.devices ?? {};
  for (const deadline = performance.now() + within; ; ) {
    const now = (await progress(host))[name]?.devices ?? {};
    const worse = Object.keys(now).find(device => now[device]!.errors > (was[device]?.errors ?? 0));
    if (worse !== undefined) return `${worse} has ${now[worse]!.errors} errors, it had ${was[worse]?.errors ?? 0}`;
    // One that was connected anew counts from 0.
    if (Object.keys(now).some(device => now[device]!.done !== (was[device]?.done ?? 0))) return undefined;
    if (performance.now() > deadline) return `its devices have done nothing in ${within / 1000} s`;
    await new Promise(resolve => setTimeout(resolve, LOOK_MS));
  }
}
