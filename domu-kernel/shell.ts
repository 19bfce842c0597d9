// A domain's process before it has a domain. While it waits it loads the kernel that lies beside it and has that
// rehearse. What it starts is what the domain builder has left in the domain's memory: the kernel that is loaded
// already only if it is the same, byte for byte. Once it has its domain it opens no file, and from then on cannot.
// `domain-shell.cjs PARENT LAYERS BYTES`: the pid that getppid says; XENOLITH_LAYER_*; what of its memory is none of a
// domain's, as Linux counts. Prints `pid N` when it is there: N is its number where /proc was mounted, which is not its
// own when it has a namespace for that; then what its self-test tries, and `fit` when all of that went well.
import { readlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  abortByExit,
  bootMemory,
  type ControlMessage,
  closeFd,
  crashExit,
  dieWithParent,
  domain_control,
  domainLayout,
  EPOLLIN,
  Epoll,
  exitProcess,
  FutexSet,
  getU64,
  mapShared,
  PAGE_SIZE,
  receiveBoot,
  viewOf,
} from '#pvbus';
import { Confinement } from './confinement/confinement.ts';
import { selfTest } from './confinement/self-test.ts';
import { evaluateKernel, type GuestKernel, InstalledKernel, installedExt4, KernelImage } from './guest-kernel.ts';
import { VcpuThreads } from './smp/vcpu-threads.ts';

const CONTROL_FD = 3;

/** The control page of a domain, which says when its kernel is there and when it may run. */
class ControlPage {
  readonly #address: number;
  readonly #words: Int32Array;
  readonly #view: DataView;

  constructor({ fd, b }: ControlMessage) {
    const layout = domainLayout(b % 2 ** 32, Math.floor(b / 2 ** 32));
    this.#address = mapShared(fd, PAGE_SIZE, layout.control * PAGE_SIZE);
    const page = viewOf(this.#address, PAGE_SIZE);
    this.#words = new Int32Array(page);
    this.#view = new DataView(page);
  }
  /** The guest address of the kernel's image, once the builder has said it or the domain runs. */
  awaitEntry(): number {
    const entry = domain_control.at.entry / 4;
    this.#await(() => Atomics.load(this.#words, entry) !== 0);
    return getU64(this.#view, domain_control.at.entry);
  }
  awaitRun(): void {
    this.#await(() => false);
  }
  /** Sleep until the domain runs, or `early` has come. */
  #await(early: () => boolean): void {
    const run = domain_control.at.run;
    const entry = domain_control.at.entry;
    const words = this.#words;
    const futexes = new FutexSet();
    futexes.add(this.#address + run);
    futexes.add(this.#address + entry);
    while (Atomics.load(words, run / 4) === 0 && !early()) {
      futexes.expect(0, 0);
      futexes.expect(1, Atomics.load(words, entry / 4));
      if (!early()) futexes.sleep();
    }
  }
}

// No program is to find it.
const collectGarbage = globalThis.gc;
Reflect.deleteProperty(globalThis, 'gc');

/** The domain is there already: nothing is to be done first. */
function isTaken(): boolean {
  const epoll = new Epoll();
  epoll.add(CONTROL_FD, EPOLLIN);
  const taken = epoll.wait(0) > 0;
  closeFd(epoll.fd);
  return taken;
}

const say = (line: string): void => void writeSync(1, `${line}\n`);

async function main(): Promise<void> {
  const confinement = new Confinement(Number(process.argv[3]), Number(process.argv[4]));
  const installed = new InstalledKernel(join(__dirname, 'domu-kernel.js'), why =>
    console.error(`domain-shell: ${why}`),
  );
  const ext4 = installedExt4(join(__dirname, 'ext4.wasm'));
  installed.load();
  if (!isTaken()) await installed.rehearse();
  confinement.whileWaiting();
  if (!isTaken()) {
    await selfTest(collectGarbage, what => say(`tries ${what}`));
    say('fit');
  }
  // What that left behind would be collected in the middle of the domain's start.
  if (!isTaken()) collectGarbage?.();
  // So would be acted upon what the collector has left to the event loop.
  await new Promise(resolve => setImmediate(resolve));
  const boot = receiveBoot(CONTROL_FD);
  const threads = new VcpuThreads(__dirname, CONTROL_FD, boot);
  const page = new ControlPage(boot);
  // The builder has said where the image is; the rest of the domain is still being made.
  const entry = page.awaitEntry();
  let kernel: GuestKernel;
  try {
    threads.awaitAll();
    confinement.beforeItRuns(domainLayout(boot.b % 2 ** 32, Math.floor(boot.b / 2 ** 32)));
    const image = new KernelImage(boot, entry);
    kernel = installed.ifSame(image) ?? evaluateKernel(image.text());
    installed.forgetText();
  } catch (error) {
    const { memory, layout, vcpu } = bootMemory(boot);
    return crashExit({ memory, layout, id: vcpu }, error);
  }
  const handed = { controlFd: CONTROL_FD, boot, ext4, mails: threads.mails, collectGarbage };
  const start = kernel.attach?.(handed) ?? (() => kernel.start(handed));
  page.awaitRun();
  start();
}

dieWithParent(Number(process.argv[2]));
abortByExit();
say(`pid ${readlinkSync('/proc/self')}`);
main().catch(error => {
  writeSync(2, `domain-shell: ${error instanceof Error ? error.stack : error}\n`);
  exitProcess(1);
});
