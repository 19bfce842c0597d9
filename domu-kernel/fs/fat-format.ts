// An empty FAT volume over a whole device.
import type { WasmModule } from '../process/web-assembly.ts';
import { FatCore } from './fat-core.ts';
import type { SectorDevice } from './sector-device.ts';

const FM_ANY = 7;
const FM_SFD = 8;

/** What was there is lost. */
export function formatVolume(device: SectorDevice, module: WasmModule, wallMs: () => number, label: string): void {
  const core = new FatCore(module, device, wallMs);
  core.call(`format ${device.name}`, () => {
    const options = core.alloc(16);
    core.view.setUint8(options, FM_ANY | FM_SFD);
    core.view.setUint8(options + 1, 2);
    return core.x.f_mkfs(core.putString(core.path, ''), options, core.buffer, 65536);
  });
  if (label !== '') {
    core.mount();
    core.call(`label ${device.name}`, () => core.x.f_setlabel(core.putString(core.path, label)));
    labelBootSectors(device, label);
  }
  device.flush();
}

/** FatFs keeps a label in the root directory only; other FAT tools want it in the boot sector as well. */
function labelBootSectors(device: SectorDevice, label: string): void {
  const boot = new Uint8Array(device.sectorSize);
  device.read(0, boot);
  const view = new DataView(boot.buffer);
  const isFat32 = view.getUint16(22, true) === 0;
  const text = new TextEncoder().encode(label.toUpperCase().padEnd(11).slice(0, 11));
  const backup = isFat32 ? view.getUint16(50, true) : 0;
  for (const sector of backup > 0 ? [0, backup] : [0]) {
    device.read(sector, boot);
    boot.set(text.subarray(0, 11), isFat32 ? 71 : 43);
    device.write(sector, boot);
  }
}
