// A domain's process before it has a kernel: waits for its memory, loads the kernel that the domain builder
// leaves in it, and starts that when the domain first runs. It opens no file.
import { compileFunction } from 'node:vm';
import {
  bootMemory,
  crashExit,
  dieWithParent,
  domain_control,
  dupFd,
  FutexSet,
  getU64,
  PAGE_SIZE,
  receiveBoot,
  XENOLITH_IMAGE_MAGIC,
  xenolith_image,
} from '#pvbus';

const CONTROL_FD = 3;

dieWithParent(Number(process.argv[2]));
const boot = receiveBoot(CONTROL_FD);
const { memory, layout, vcpu } = bootMemory({ ...boot, fd: dupFd(boot.fd) });
const control = layout.control * PAGE_SIZE;
const run = (control + domain_control.at.run) / 4;
const entryLow = (control + domain_control.at.entry) / 4;
/** Sleep until the domain runs, or `early` has come. */
function awaitRun(early: () => boolean): void {
  const futexes = new FutexSet();
  futexes.add(memory.address + 4 * run);
  futexes.add(memory.address + 4 * entryLow);
  while (Atomics.load(memory.words, run) === 0 && !early()) {
    futexes.expect(0, 0);
    futexes.expect(1, Atomics.load(memory.words, entryLow));
    if (!early()) futexes.sleep();
  }
}
// The kernel is loaded as soon as the builder has said where it is: the rest of the domain is still being made.
awaitRun(() => Atomics.load(memory.words, entryLow) !== 0);

const offered: Record<string, unknown> = { koffi: require('koffi') };
const kernelRequire = (name: string): unknown => {
  if (name in offered) return offered[name];
  throw new Error(`a guest kernel cannot load ${name}`);
};

/** The kernel's text, which the image at the entry address holds. */
function kernelText(): string {
  const entry = getU64(memory.view, control + domain_control.at.entry);
  const at = entry + xenolith_image.size;
  const length = memory.view.getUint32(entry + xenolith_image.at.length, true);
  if (
    memory.view.getUint32(entry + xenolith_image.at.magic, true) !== XENOLITH_IMAGE_MAGIC ||
    at + length > memory.size
  )
    throw new Error(`no kernel image at the entry address 0x${entry.toString(16)}`);
  return new TextDecoder().decode(memory.bytes.slice(at, at + length));
}

const module = { exports: {} as { start?: (boot: { controlFd: number; boot: unknown }) => void } };
try {
  const kernel = compileFunction(kernelText(), ['require', 'module', 'exports'], { filename: 'domu-kernel' });
  kernel(kernelRequire, module, module.exports);
  if (module.exports.start === undefined) throw new Error('the kernel exports no start function');
} catch (error) {
  crashExit({ memory, layout, id: vcpu }, error);
}
awaitRun(() => false);
memory.release();
module.exports.start?.({ controlFd: CONTROL_FD, boot });
