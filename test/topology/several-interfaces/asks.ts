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

/** Each by itself: one that is gone may be waited for long. */
async function askOn(host: string): Promise<never> {
  let last = '';
  for (;;) {
    const answer = await ask(host).catch(error => String(error.code));
    if (answer !== last) console.log(`${host}: ${answer}`);
    last = answer;
    await clock.sleep(100);
  }
}

export default async () => {
  await Promise.all(String(system.args.ask).split(',').map(askOn));
};
