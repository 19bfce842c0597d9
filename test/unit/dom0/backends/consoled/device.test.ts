import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Consoled } from '../../../../../dom0/backends/consoled/device.ts';
import { SimulatedHost } from '../../../../support/simulated-host.ts';

let host: SimulatedHost;
beforeAll(async () => {
  host = await SimulatedHost.start();
});
afterAll(() => host?.stop());

const ECHO = `
import { console } from 'xenolith';
export default async function main() {
  for await (const line of console.lines()) console.log('got ' + line);
}
`;

it('what is typed when the socket of a console is there and its ring is not yet arrives all the same', async () => {
  const { domid } = await host.create(`name = "echo"\nmemory = 16\nramdisk = "${host.program(ECHO)}"`);
  // As after dom0's death: its successor asks xenstore for the port, which takes its time.
  await host.run(host.consoled.disconnect(domid));
  let answer = (): void => {};
  const asked = new Promise<void>(resolve => {
    answer = resolve;
  });
  const xs: typeof host.xs = Object.create(host.xs, {
    read: { value: async (...args: Parameters<typeof host.xs.read>) => asked.then(() => host.xs.read(...args)) },
  });
  const options = { vcpu: host.vcpu0, log: host.log, clock: host.core.clock, runDir: host.dir, wake: () => {} };
  const successor = new Consoled({ ...options, xs });
  const connected = successor.connect(domid, 'echo');
  await host.until(() => existsSync(successor.socketPath(domid)), 'its socket');
  const client = connect(successor.socketPath(domid));
  let heard = '';
  client.on('data', bytes => {
    heard += bytes;
  });
  await once(client, 'connect');
  const sent = new Promise<void>(resolve => void client.write('early\n', () => resolve()));
  await host.run(sent);
  await host.rest();
  answer();
  await host.run(connected);
  client.write('late\n');
  await host.until(
    () => {
      successor.step();
      return heard.includes('got late');
    },
    () => `what was typed: ${heard}`,
  );
  expect(heard).toContain('got early');
  client.destroy();
  await host.run(successor.disconnect(domid));
});
