// xl block-export

import { resolve } from 'node:path';
import { XenError } from '#pvbus';
import { vdevNumber } from '../config/vdev.ts';
import { RawImage } from '../nbd-server/raw-image.ts';
import { NbdServer } from '../nbd-server/server.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'w', [{ name: 'writable', as: 'w' }], 3);
  if (typeof line === 'number') return line;
  const [name, vdev, socket] = line.args as [string, string, string];
  const interrupted = context.io.interrupted();
  const client = await context.connect();
  const domid = await findDomain(client, name);
  const devid = vdevNumber(vdev);
  const notConnected = new CommandFailure(`Error: Device ${vdev} not connected.`);
  if (devid === null) throw notConnected;
  const writable = line.options.has('w');
  const found = await client.call('exportDisk', { domid, devid, writable }).catch(error => {
    throw error instanceof XenError && error.code === 'ENODEV' ? notConnected : error;
  });
  const image = new RawImage(found.path, found.vdev, !writable);
  try {
    const path = resolve(context.io.cwd, socket);
    const server = await NbdServer.listen(image, path, context.err);
    try {
      context.out(`nbd+unix:///${found.vdev}?socket=${path.split('/').map(encodeURIComponent).join('/')}`);
      await Promise.race([
        new Promise<void>(done => {
          interrupted.addEventListener('abort', () => done());
          if (interrupted.aborted) done();
        }),
        client.call('wait', { domid, until: 'destroyed' }),
      ]);
    } finally {
      server.close();
    }
  } finally {
    image.close();
  }
  return 0;
};
