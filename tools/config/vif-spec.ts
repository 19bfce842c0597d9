// One entry of `vif = [...]`. Xen: xl-network-configuration(5).

import type { VifConfig } from '#pvbus';
import { ConfigError, parseNumber } from './settings.ts';
import type { XlConf } from './xl-conf.ts';

/** A vif as its text has it; the devid is its place in the list, the mac may still be missing. */
export type VifSpec = Omit<VifConfig, 'mac'> & { mac: string | null };
export type VifRate = NonNullable<VifConfig['rate']>;

const IGNORED = /^(?:accel|forwarddev|coloft_forwarddev|colo_[a-z0-9_]*)=/;

/** `warn` takes what xl says and then goes on. `defaults` are xl.conf's. Throws ConfigError for what ends it. */
export function parseVifSpec(
  spec: string,
  devid: number,
  warn: (line: string) => void,
  defaults: XlConf['vif'] = {},
): VifSpec {
  const vif: VifSpec = {
    devid,
    mac: null,
    bridge: null,
    ip: null,
    script: null,
    backend: null,
    vifname: null,
    gatewaydev: null,
    model: null,
    nictype: null,
    rate: null,
    mtu: null,
    trusted: null,
    ...defaults,
  };
  for (const raw of spec.split(',')) {
    const token = raw.replace(/^[ ]+/, '');
    if (token === '') continue;
    const [key, ...rest] = token.split('=');
    const value = rest.join('=');
    const valued = rest.length > 0;
    if (!valued && token === 'trusted') vif.trusted = true;
    else if (!valued && token === 'untrusted') vif.trusted = false;
    else if (!valued) warn(`unrecognized argument \`${token}'`);
    else if (key === 'type') vif.nictype = nictype(value);
    else if (key === 'mac') vif.mac = macAddress(value);
    else if (key === 'bridge') vif.bridge = value;
    else if (key === 'netdev' || key === 'gatewaydev') {
      if (key === 'netdev') warn('the netdev parameter is deprecated, please use gatewaydev instead');
      vif.gatewaydev = value;
    } else if (key === 'ip') vif.ip = value;
    else if (key === 'script') vif.script = value;
    else if (key === 'backend') vif.backend = value;
    else if (key === 'vifname') vif.vifname = value;
    else if (key === 'model') vif.model = value;
    else if (key === 'rate') vif.rate = parseVifRate(value);
    else if (key === 'devid') vif.devid = bounded(value, 255, 'devid');
    else if (key === 'mtu') vif.mtu = bounded(value, 65_535, 'mtu');
    else if (!IGNORED.test(token)) warn(`unrecognized argument \`${token}'`);
  }
  return vif;
}

function nictype(value: string): 'vif' | 'vif_ioemu' {
  if (value === 'vif') return 'vif';
  if (value === 'ioemu') return 'vif_ioemu';
  throw new ConfigError("Invalid parameter `type'.");
}

function macAddress(value: string): string {
  const octets = value.toLowerCase().split(':');
  if (octets.length !== 6 || !octets.every(octet => /^[0-9a-f]{1,2}$/.test(octet))) {
    throw new ConfigError("Invalid parameter `mac'.");
  }
  return octets.map(octet => octet.padStart(2, '0')).join(':');
}

function bounded(value: string, max: number, key: string): number {
  const n = parseNumber(value);
  if (n === undefined) throw new ConfigError(`xl: failed to convert "${value}" to number`);
  if (n < 0 || n > max) throw new ConfigError(`Invalid parameter \`${key}'.`);
  return n;
}

const SCALE: Readonly<Record<string, bigint>> = { '': 1n, K: 1_000n, M: 1_000_000n, G: 1_000_000_000n };
const USECS: Readonly<Record<string, number>> = { us: 1, u: 1, ms: 1e3, m: 1e3, s: 1e6, '': 1e6 };
const DEFAULT_INTERVAL_USECS = 50_000;

/** `10Mb/s`, `1MB/s@20ms`: credit in bytes per replenishment interval, as libxlutil computes it. */
export function parseVifRate(text: string): VifRate {
  const fault = (message: string): never => {
    throw new ConfigError(`command line: config parsing error in vif: ${message}`);
  };
  const at = text.indexOf('@');
  const rate = at < 0 ? text : text.slice(0, at);
  if (rate === '') fault(`no rate specified in \`${text}'`);
  let interval_usecs = DEFAULT_INTERVAL_USECS;
  if (at >= 0) {
    const interval = text.slice(at + 1);
    const match = /^([0-9]+)([mu]?s?)$/.exec(interval);
    if (match === null) return fault(`invalid replenishment interval in \`${interval}'`);
    interval_usecs = Number(match[1]) * USECS[match[2]!]!;
    if (interval_usecs === 0 || interval_usecs > 0xffff_ffff) {
      fault(`replenishment interval overflow in \`${interval}'`);
    }
  }
  const match = /^([0-9]+)([GMK]?)([Bb])\/s$/.exec(rate);
  if (match === null) return fault(`invalid rate in \`${rate}'`);
  const perSecond = BigInt(match[1]!) * SCALE[match[2]!]!;
  const credit = (match[3] === 'b' ? perSecond / 8n : perSecond) * BigInt(interval_usecs);
  // Xen: the number is 32 bits wide, the credit times a million 64.
  if (Number(match[1]) === 0 || Number(match[1]) > 0xffff_ffff || credit >= 1n << 64n) {
    fault(`rate overflow in \`${rate}'`);
  }
  return { bytes_per_interval: Number(credit / 1_000_000n), interval_usecs };
}
