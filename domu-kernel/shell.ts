// A domain's process before it has a kernel: waits for its memory, then until the domain first runs,
// then evaluates the kernel that the domain builder left in guest memory. It opens no file.
import { compileFunction } from 'node:vm';
import {
  bootMemory,
  dieWithParent,
  domain_control,
  dupFd,
  exitProcess,
  futexWait,
  getU64,
  PAGE_SIZE,
  receiveBoot,
  XENOLITH_IMAGE_MAGIC,
  xenolith_image,
} from '#pvbus';

const CONTROL_FD = 3;

dieWithParent(Number(process.argv[2]));
const boot = receiveBoot(CONTROL_FD);
const { memory, layout, domid } = bootMemory({ ...boot, fd: dupFd(boot.fd) });
const control = layout.control * PAGE_SIZE;
const run = (control + domain_control.at.run) / 4;
while (Atomics.load(memory.words, run) === 0) futexWait(memory.address + 4 * run, 0);

const entry = getU64(memory.view, control + domain_control.at.entry);
const at = entry + xenolith_image.size;
const length = memory.view.getUint32(entry + xenolith_image.at.length, true);
if (
  memory.view.getUint32(entry + xenolith_image.at.magic, true) !== XENOLITH_IMAGE_MAGIC ||
  at + length > memory.size
) {
  console.error(`dom${domid}: no kernel image at its entry address ${entry.toString(16)}`);
  exitProcess(1);
}
const text = new TextDecoder().decode(memory.bytes.slice(at, at + length));
memory.release();

const offered: Record<string, unknown> = { koffi: require('koffi') };
const kernelRequire = (name: string): unknown => {
  if (name in offered) return offered[name];
  throw new Error(`a guest kernel cannot load ${name}`);
};
const module = { exports: {} as { start?: (boot: { controlFd: number; boot: unknown }) => void } };
compileFunction(text, ['require', 'module', 'exports'], { filename: 'domu-kernel' })(
  kernelRequire,
  module,
  module.exports,
);
module.exports.start?.({ controlFd: CONTROL_FD, boot });
