// Fetches a page over TCP: from=ADDRESS:PORT on the command line.
import { console, net, system } from 'xenolith';

export default async function main(): Promise<void> {
  const [address, port] = String(system.args.from).split(':');
  const connection = await net.connect(address!, Number(port));
  await connection.write('GET /page HTTP/1.0\r\n\r\n');
  let text = '';
  for await (const bytes of connection) text += new TextDecoder().decode(bytes);
  console.log(`got ${text.length} bytes: ${text.slice(text.indexOf('\r\n\r\n') + 4).slice(0, 40)}`);
}
