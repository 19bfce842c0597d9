import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestKernel, Host } from 'xenolith';

test('the guest says again what it is told, and counts', async () => {
  await using host = await Host.start({ memory: '256M' });
  const echo = host.domain('echo');
  await echo.create({ ramdisk: 'echo.ts', memory: 16 });

  const console = await echo.console();
  await console.waitFor('ready');
  console.write('hello\n');
  await console.waitFor('you said hello');

  const domid = await echo.domid();
  const count = `/local/domain/${domid}/data/count`;
  const counted = new Promise<void>((resolve, reject) => {
    const look = async () => {
      if ((await host.xenstore.exists(count)) && (await host.xenstore.read(count)) === '1') resolve();
    };
    host.xenstore.watch(count, 'count', () => void look().catch(reject)).catch(reject);
  });
  await counted;

  const end = echo.wait();
  await echo.shutdown();
  assert.equal((await end).what, 'shutdown');
  await echo.wait('destroyed');
  assert.deepEqual(
    (await host.domains()).map(({ name }) => name),
    ['Domain-0'],
  );
});

test('a topology is up when `up` says so, and a bad one leaves nothing', async () => {
  await using host = await Host.start();
  await host.up({
    bridges: ['office'],
    domains: {
      one: { kernel: guestKernel, memory: 16, vif: ['bridge=office'] },
      two: { kernel: guestKernel, memory: 16, vif: ['bridge=office'], after: 'one', paused: true },
    },
  });
  assert.equal((await host.domain('one').info()).paused, false);
  assert.equal((await host.domain('two').info()).paused, true);

  const three = { kernel: guestKernel, memory: 16 };
  await assert.rejects(host.up({ domains: { three, four: { ...three, ramdisk: 'none.ts' } } }), {
    name: 'XenError',
    code: 'ENOENT',
  });
  assert.equal((await host.domains()).length, 3);
  await assert.rejects(host.up({ domains: { five: { memroy: 16 } } }), /do you mean memory/);
});
