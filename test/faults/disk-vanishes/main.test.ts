// A disk is unplugged while its guest does nothing but wait for it. The guest's xenbus must go on below the call that
// waits, or neither xl nor the guest would ever get an answer: as it was before, xl block-detach timed out.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dist, HostRig } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';

const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'xenolith-disk-vanishes-'));
let rig: HostRig;
beforeAll(async () => {
  rig = await HostRig.start();
});
afterAll(async () => {
  await rig?.stop();
  rmSync(dir, { recursive: true, force: true });
});
const image = (name: string): string => {
  writeFileSync(join(dir, name), '');
  truncateSync(join(dir, name), 1 << 20);
  return join(dir, name);
};

describe('a disk that is unplugged under a guest that reads without end', () => {
  it('fails with ENODEV, and everything else of the guest goes on', async () => {
    const lines = [
      'name = "reader"',
      'memory = 16',
      `kernel = "${dist('domu-kernel.js')}"`,
      `ramdisk = "${GUEST}"`,
      `disk = [ "${image('a')},raw,xvda,w", "${image('b')},raw,xvdb,r" ]`,
    ];
    writeFileSync(join(dir, 'reader.cfg'), lines.join('\n'));
    expect(await rig.xl('create', '-q', join(dir, 'reader.cfg'))).toMatchObject({ exitCode: 0, stderr: '' });
    const says = (text: string) => eventually(text, () => rig.consoleLog('reader').includes(text));
    await says('reads');
    expect(await rig.xl('block-detach', 'reader', 'xvdb')).toMatchObject({ exitCode: 0, stderr: '' });
    await says('the read failed: ENODEV');
    await says('lives on');
    expect(readFileSync(join(dir, 'a'))[0]).toBe(0x21);
    await rig.xl('destroy', 'reader');
  });
});
