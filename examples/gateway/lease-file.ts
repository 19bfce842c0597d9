// Leases outlive the gateway on its disk, where it has one: `root=/dev/xvda`.
import { console, files, system } from 'xenolith';
import { formatAddress, parseAddress, parseMac } from './addresses.ts';
import type { Lease } from './dhcp-server.ts';

const FILE = '/leases.txt';
const hasDisk = system.args.root !== undefined;

/** A line each: MAC address, address, until when. */
export function loadLeases(): Lease[] {
  if (!hasDisk || !files.exists(FILE)) return [];
  const lines = files.readText(FILE).split('\n').filter(Boolean);
  return lines.flatMap(line => {
    const [mac = '', address = '', until = ''] = line.split(' ');
    try {
      return [{ mac: parseMac(mac), address: parseAddress(address), until: Date.parse(until) / 1000 || 0 }];
    } catch (error) {
      console.warn(`dhcp: ${FILE}: ${error}`);
      return [];
    }
  });
}
export function saveLeases(leases: readonly Lease[]): void {
  if (!hasDisk) return;
  const lines = leases.map(({ mac, address, until }) => {
    return `${mac} ${formatAddress(address)} ${new Date(until * 1000).toISOString()}\n`;
  });
  files.writeFile(FILE, lines.join(''), { sync: true });
}
