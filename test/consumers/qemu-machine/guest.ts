// Serves a script for the firmware of a machine, and a file; asks the machine, once that has been fetched.
import { clock, console, http, net } from 'xenolith';

const file = Uint8Array.from({ length: 1_500_000 }, (_, i) => i * 31);

export default async function main(): Promise<void> {
  await http.serve(
    80,
    request => {
      if (request.path === '/file') return file;
      void net.ping('10.77.0.100', { timeoutMs: 30_000, size: 1000 }).then(() => console.log('the machine answers'));
      return `#!ipxe\necho this is ${request.path.slice(1).toUpperCase()} of ${net.address}\n`;
    },
    { on: 'net' },
  );
  console.log('serving');
  for await (const _ of clock.every(1000));
}
