// Questions for names, asked of the host's name server over TCP (RFC 7766): Xen's pvcalls has no datagrams.
import { clock, host } from 'xenolith';

const TIMEOUT_MS = 5000;

/** The answer to one question. Throws when there is none in time. */
export async function forward(message: Uint8Array, server: { address: string; port: number }): Promise<Uint8Array> {
  const connection = await host.connect(server.port, { address: server.address });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    void connection.close();
  }, TIMEOUT_MS);
  try {
    const framed = new Uint8Array(2 + message.length);
    new DataView(framed.buffer).setUint16(0, message.length);
    framed.set(message, 2);
    await connection.write(framed);
    let answer = new Uint8Array(0);
    for await (const bytes of connection) {
      const longer = new Uint8Array(answer.length + bytes.length);
      longer.set(answer);
      longer.set(bytes, answer.length);
      answer = longer;
      const view = new DataView(answer.buffer);
      const whole = answer.length >= 2 ? 2 + view.getUint16(0) : Number.POSITIVE_INFINITY;
      if (answer.length < whole) continue;
      // untrusted: the answer to this question, at least by its number.
      if (whole < 14 || answer[2] !== message[0] || answer[3] !== message[1]) break;
      return answer.slice(2, whole);
    }
    throw new Error('the name server has no answer');
  } catch (error) {
    throw late ? new Error(`the name server has not answered by ${clock.date().toISOString()}`) : error;
  } finally {
    clearTimeout(timer);
    void connection.close();
  }
}
