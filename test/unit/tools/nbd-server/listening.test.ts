// Where a disk is served.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ExportedDisk } from '../../../../tools/nbd-server/conversation.ts';
import { NbdServer } from '../../../../tools/nbd-server/server.ts';

const NOBODY_ASKS = {} as ExportedDisk;
const listen = (path: string) => NbdServer.listen(NOBODY_ASKS, path, () => {});

it('a folder that is not there is said to be, a path too long, and whatever else it is', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'xl-nbd-'));
  try {
    await expect(listen(join(dir, 'no/socket'))).rejects.toMatchObject({
      ...{ code: 'ENOENT', message: `${join(dir, 'no/socket')}: there is no ${join(dir, 'no')}` },
    });
    writeFileSync(join(dir, 'file'), '');
    await expect(listen(join(dir, 'file/in/it'))).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(listen(join(dir, 'x'.repeat(107)))).rejects.toMatchObject({
      code: 'ENAMETOOLONG',
      message: expect.stringMatching(/ is too long for a unix socket$/),
    });
    (await listen(join(dir, 'socket'))).close();
  } finally {
    rmSync(dir, { recursive: true });
  }
});
