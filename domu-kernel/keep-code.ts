// Run by the build, with the flags of shells (hypervisor/confinement/launch-command.ts): keeps what the engine makes of a
// kernel, with the functions that a start of day has run, and no others: a domain would have those in its memory.
// `node FLAGS keep-code.cjs KERNEL`
import { readFileSync, writeFileSync } from 'node:fs';
import { compileKernel, keptCodePath, runKernel } from './guest-kernel.ts';

async function keep(kernel: string): Promise<void> {
  const script = compileKernel(readFileSync(kernel));
  await runKernel(script).rehearse?.();
  writeFileSync(keptCodePath(kernel), script.createCachedData());
}

void keep(process.argv[2]!);
