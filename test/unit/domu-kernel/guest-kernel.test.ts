// Which kernel a shell starts: what is in the domain's memory, and nothing else.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Arena, type ControlMessage, domainLayout, PAGE_SIZE, XENOLITH_IMAGE_MAGIC, xenolith_image } from '#pvbus';
import {
  compileKernel,
  evaluateKernel,
  InstalledKernel,
  KernelImage,
  keptCodePath,
} from '../../../domu-kernel/guest-kernel.ts';
import { SHELL_FLAGS } from '../../../hypervisor/confinement/launch-command.ts';
import { readableFiles } from '../../../hypervisor/confinement/readable-files.ts';
import { dist, root } from '../../support/host-view.ts';

let dir: string;
let memory: Arena;
let boot: ControlMessage;
let failures: string[];
beforeEach(() => {
  failures = [];
  dir = mkdtempSync(join(tmpdir(), 'xenolith-kernel-'));
  const layout = domainLayout(64, 1);
  memory = Arena.create('domain', layout.frames * PAGE_SIZE);
  boot = { kind: 1, a: 1, b: layout.maxPages + layout.maxVcpus * 2 ** 32, fd: memory.fd };
});
afterEach(() => {
  delete count.evaluations;
  memory.release();
  rmSync(dir, { recursive: true });
});

const ENTRY = PAGE_SIZE;
function deliver(text: string, length = text.length, magic = XENOLITH_IMAGE_MAGIC): void {
  memory.view.setUint32(ENTRY + xenolith_image.at.magic, magic, true);
  memory.view.setUint32(ENTRY + xenolith_image.at.length, length, true);
  memory.bytes.set(Buffer.from(text), ENTRY + xenolith_image.size);
}
function install(text: string): InstalledKernel {
  writeFileSync(join(dir, 'kernel.js'), text);
  const installed = kernelAt('kernel.js');
  installed.load();
  return installed;
}
const kernelAt = (name: string): InstalledKernel => new InstalledKernel(join(dir, name), why => failures.push(why));
/** A kernel that counts its evaluations. */
const COUNTING = 'globalThis.evaluations = (globalThis.evaluations ?? 0) + 1; exports.start = () => "counted";';
const count = globalThis as { evaluations?: number };

describe('the kernel in a domain’s memory', () => {
  it('is read as the builder has left it', () => {
    deliver('exports.start = () => "delivered"');
    const kernel = evaluateKernel(new KernelImage(boot, ENTRY).text());
    expect(kernel.start({ controlFd: 3, boot })).toBe('delivered');
  });

  it.each([
    ['no magic', () => deliver('exports.start = () => {}', 24, 1), ENTRY],
    ['a length beyond memory', () => deliver('', 0x7fffffff), ENTRY],
    ['an entry beyond memory', () => {}, 2 ** 40],
    ['an entry that is no offset', () => {}, 2 ** 60],
  ])('is refused with %s', (_, write, entry) => {
    write();
    expect(() => new KernelImage(boot, entry)).toThrow();
  });

  it('is refused when it exports no start function', () => {
    expect(() => evaluateKernel(Buffer.from('exports.begin = () => {}'))).toThrow('no start function');
  });

  it('may load koffi and nothing else', () => {
    evaluateKernel(Buffer.from('require("koffi").load; exports.start = () => {}'));
    expect(() => evaluateKernel(Buffer.from('require("node:fs"); exports.start = () => {}'))).toThrow(
      'a guest kernel cannot load node:fs',
    );
  });
});

describe('the installed kernel', () => {
  it('is the one that is started where the domain has the same, and is not evaluated again', () => {
    const installed = install(COUNTING);
    deliver(COUNTING);
    const kernel = installed.ifSame(new KernelImage(boot, ENTRY));
    expect(kernel?.start({ controlFd: 3, boot })).toBe('counted');
    expect(count.evaluations).toBe(1);
  });

  it('is not started where one byte differs, also of a text as long', () => {
    const installed = install('exports.start = () => 1');
    deliver('exports.start = () => 2');
    expect(installed.ifSame(new KernelImage(boot, ENTRY))).toBeUndefined();
    deliver('exports.start = () => 1 ');
    expect(installed.ifSame(new KernelImage(boot, ENTRY))).toBeUndefined();
  });

  it('is what its file held when it was loaded: a file that changed since makes no difference', () => {
    const installed = install('exports.start = () => 1');
    writeFileSync(join(dir, 'kernel.js'), 'exports.start = () => 2');
    deliver('exports.start = () => 2');
    expect(installed.ifSame(new KernelImage(boot, ENTRY))).toBeUndefined();
  });

  it('is not started where only the last byte of a long text differs, and is where none does', () => {
    const text = `exports.start = () => 1; //${'x'.repeat(200_000)}`;
    const installed = install(text);
    deliver(`${text.slice(0, -1)}y`);
    expect(installed.ifSame(new KernelImage(boot, ENTRY))).toBeUndefined();
    deliver(text);
    expect(installed.ifSame(new KernelImage(boot, ENTRY))?.start({ controlFd: 3, boot })).toBe(1);
  });

  it('is nobody’s once its text was let go of, and what it was taken for goes on', () => {
    const text = 'exports.start = () => 1';
    const installed = install(text);
    deliver(text);
    const kernel = installed.ifSame(new KernelImage(boot, ENTRY));
    installed.forgetText();
    expect(kernel?.start({ controlFd: 3, boot })).toBe(1);
    expect(installed.ifSame(new KernelImage(boot, ENTRY))).toBeUndefined();
  });

  it('is nobody’s where it was not loaded', () => {
    writeFileSync(join(dir, 'kernel.js'), 'exports.start = () => 1');
    deliver('exports.start = () => 1');
    expect(kernelAt('kernel.js').ifSame(new KernelImage(boot, ENTRY))).toBeUndefined();
  });

  it.each([
    ['is missing', undefined, 'ENOENT'],
    ['throws', 'throw new Error("broken")', 'broken'],
    ['has no start function', 'exports.go = () => 1', 'no start function'],
    ['fails to rehearse', 'exports.start = () => 1; exports.rehearse = async () => { throw new Error("no"); }', 'no'],
  ])('is nobody’s when it %s', async (_, text, why) => {
    if (text !== undefined) writeFileSync(join(dir, 'kernel.js'), text);
    const installed = kernelAt('kernel.js');
    installed.load();
    await installed.rehearse();
    expect(failures).toEqual([expect.stringContaining(why)]);
    deliver(text ?? '');
    expect(installed.ifSame(new KernelImage(boot, ENTRY))).toBeUndefined();
  });
});

describe('what the build keeps of the kernel', () => {
  /** It may have been another Node's build. */
  const elsewhere = !existsSync(keptCodePath(dist('domu-kernel.js')));

  it.skipIf(elsewhere)('is taken by the engine, with the flags of shells', () => {
    const kernel = JSON.stringify(dist('domu-kernel.js'));
    const asked = `
      import { readFileSync } from 'node:fs';
      import { compileKernel, keptCodePath } from ${JSON.stringify(join(root, 'domu-kernel/guest-kernel.ts'))};
      const script = compileKernel(readFileSync(${kernel}), readFileSync(keptCodePath(${kernel})));
      console.log(script.cachedDataRejected);`;
    const args = [...SHELL_FLAGS, '--import', 'tsx', '--input-type', 'module', '-e', asked];
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
    expect(stdout + stderr).toBe('false\n');
  });

  it.skipIf(elsewhere)('may be read by a shell that has no rights to files', () => {
    const readable = readableFiles(realpathSync(dist('.')), []).map(({ path }) => path);
    expect(readable).toContain(realpathSync(keptCodePath(dist('domu-kernel.js'))));
  });

  it('is of no use to another text, nor cut short: what the file holds is compiled', () => {
    const text = 'exports.start = () => "what it holds"';
    const path = keptCodePath(join(dir, 'kernel.js'));
    const started = (): unknown => {
      const installed = install(text);
      deliver(text);
      return installed.ifSame(new KernelImage(boot, ENTRY))?.start({ controlFd: 3, boot });
    };
    writeFileSync(path, compileKernel(Buffer.from('exports.start = () => 1')).createCachedData());
    expect(started()).toBe('what it holds');
    writeFileSync(path, compileKernel(Buffer.from(text)).createCachedData());
    expect(started()).toBe('what it holds');
    truncateSync(path, 100);
    expect(started()).toBe('what it holds');
    expect(failures).toEqual([]);
  });
});
