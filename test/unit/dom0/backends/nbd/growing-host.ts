// A process that serves an image, and makes it larger when it is told to: for growing-image.test.ts.
import { join } from 'node:path';
import { QemuNbd } from '../../../../../dom0/backends/nbd/qemu-nbd.ts';

const dir = process.argv[2]!;
const place = { path: join(dir, 'image'), socket: join(dir, 'socket') };
const options = { label: 'vbd', format: 'qcow2', readOnly: false, discard: true, log: console } as const;
const server = new QemuNbd({ ...place, ...options });
process.stdin.once('data', () => void server.grow(8 << 20));
