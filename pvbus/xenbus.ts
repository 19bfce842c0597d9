// What both ends of a xenbus device share: the state machine's words, reading and switching states, and saying in
// `error/` why a device was given up.
import { XenbusState } from './abi/xenbus.ts';
import { XenError } from './errors.ts';
import type { Log } from './log.ts';
import type { XenstoreClient } from './xenstore-client.ts';

/** Decimal digits and nothing else, at most `max`; undefined when it is not that. */
export function parseDecimal(value: string | undefined, max = 0xffffffff): number | undefined {
  if (value === undefined || !/^[0-9]{1,10}$/.test(value)) return undefined; // untrusted: a peer wrote it
  const n = Number(value);
  return n <= max ? n : undefined;
}

/** The state of the device below `path`. A missing or senseless state is Unknown. */
export async function readState(xs: XenstoreClient, path: string, tx = 0): Promise<XenbusState> {
  try {
    return asState(await xs.read(`${path}/state`, tx));
  } catch (error) {
    if (error instanceof XenError && error.code === 'ENOENT') return XenbusState.Unknown;
    throw error;
  }
}

/** untrusted: a state as a peer wrote it. A missing or senseless one is Unknown. */
export function asState(value: string | undefined): XenbusState {
  const n = parseDecimal(value, XenbusState.Reconfigured);
  return (n ?? XenbusState.Unknown) as XenbusState; // checked: every number up to the last state is one
}

/** The name of a state, for people. */
export function stateName(state: XenbusState): string {
  return Object.entries(XenbusState).find(([, value]) => value === state)?.[0] ?? `state ${state}`;
}

/**
 * Write our state. The node must exist: a device that was unplugged meanwhile must not come back as a lone
 * `state` key, so this rejects with ENOENT instead (Xen: Linux does the same, xenbus_switch_state).
 */
export async function switchState(xs: XenstoreClient, path: string, state: XenbusState): Promise<void> {
  await xs.transaction(async tx => {
    const now = await readKey(xs, `${path}/state`, tx);
    if (now === undefined) throw new XenError('ENOENT', `${path} has vanished before it became ${stateName(state)}`);
    if (asState(now) !== state) await xs.write(`${path}/state`, String(state), tx);
  });
}

/** One key; undefined when it is missing. */
export async function readKey(xs: XenstoreClient, path: string, tx = 0): Promise<string | undefined> {
  try {
    return await xs.read(path, tx);
  } catch (error) {
    if (error instanceof XenError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The names of a node's children; none when it is missing. */
export async function childrenOf(xs: XenstoreClient, path: string, tx = 0): Promise<string[]> {
  try {
    return await xs.directory(path, tx);
  } catch (error) {
    if (error instanceof XenError && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Where the reason of a device's failure is kept: `error/<device>/error` in the home of its domain. */
export function errorPath(path: string): string {
  const [, home, device] = /^(\/local\/domain\/[0-9]+\/)(.*)$/.exec(path) ?? [undefined, '', path];
  return `${home}error/${device}/error`;
}

/** Give a device up: say why in the log and in xenstore, and take it to Closing. Never rejects. */
export async function reportFatal(xs: XenstoreClient, path: string, error: XenError, log?: Log): Promise<void> {
  log?.error(`${path}: ${error.code}: ${error.message}`);
  try {
    await xs.write(errorPath(path), `${error.code} ${error.message}`);
    await switchState(xs, path, XenbusState.Closing);
  } catch (cause) {
    // The device is being unplugged or xenstored is gone; the log line above is what is left to say.
    log?.warn(`${path}: could not report that: ${cause instanceof Error ? cause.message : cause}`);
  }
}
