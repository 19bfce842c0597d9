// Fetches the first page of a host every ten seconds: host=NAME, port=80.
import { clock, console, net, system } from 'xenolith';

export default async function main(): Promise<void> {
  const { host, port = '80' } = system.args as Record<string, string>;
  if (host === undefined) throw new Error('host=NAME says where to');
  for await (const _ of clock.every(10_000)) {
    try {
      const from = clock.now();
      const [address] = await net.resolve(host);
      const connection = await net.connect(address!, Number(port));
      await connection.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      let text = '';
      for await (const bytes of connection) text += new TextDecoder().decode(bytes);
      const [status] = text.split('\r\n');
      const ms = (clock.now() - from).toFixed(0);
      console.log(`${net.address}: ${host} is ${address}: ${status}, ${text.length} characters in ${ms} ms`);
      await connection.close();
    } catch (error) {
      console.log(`${net.address ?? 'no address'}: ${error}`);
    }
  }
}
