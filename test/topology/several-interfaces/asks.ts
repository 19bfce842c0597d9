// Asks each of ask=ADDRESS,... again and again, and says an answer that is another than the one before.
import { clock, console, net, system } from 'xenolith';

const decoder = new TextDecoder();
async function ask(host: string): Promise<string> {
  const connection = await net.connect(host, 80);
  let text = '';
  for await (const bytes of connection) text += decoder.decode(bytes);
  await connection.close();
  return text;
}

export default async () => {
  const last = new Map<string, string>();
  for (;;) {
    for (const host of String(system.args.ask).split(',')) {
      const answer = await ask(host).catch(error => error.code);
      if (answer === last.get(host)) continue;
      last.set(host, answer);
      console.log(`${host}: ${answer}`);
    }
    await clock.sleep(100);
  }
};
