// The name server that this machine asks. It is looked up for each connection: a laptop changes its network.
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

/** The first of resolv.conf(5); without one this machine is its own. */
export function nameServer(file = '/etc/resolv.conf'): string {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    // resolv.conf(5): as if it were empty
  }
  for (const line of text.split('\n')) {
    const [key, address = ''] = line.trim().split(/\s+/);
    if (key === 'nameserver' && isIP(address) !== 0) return address;
  }
  return '127.0.0.1';
}
