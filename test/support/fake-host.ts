// A FakeToolstack as a process, started the way `xl up` starts the hypervisor. With `--fail TEXT` it dies like a
// host that cannot start.

import { parseArgs } from 'node:util';
import { FakeToolstack } from './fake-toolstack.ts';

const { values } = parseArgs({
  options: {
    'run-dir': { type: 'string' },
    parent: { type: 'string' },
    fail: { type: 'string' },
    temporary: { type: 'boolean' },
    'refuse-create': { type: 'string' },
  },
});
if (values.fail !== undefined) {
  console.error(values.fail);
  process.exit(3);
}
const fake = await FakeToolstack.start(values['run-dir']);
if (values['refuse-create'] !== undefined) {
  fake.failures.set('create', { code: 'ENOENT', message: values['refuse-create'], rc: -3 });
}
fake.onShutdownHost = () => void fake.stop().then(() => process.exit(0));
// The tool that started us may be killed; the real host asks the kernel to be told.
setInterval(() => {
  if (process.ppid !== Number(values.parent)) process.exit(1);
}, 50);
