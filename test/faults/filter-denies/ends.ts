// It ends its process as native code does that has gone wrong: `how=` abort, segv or sys, on its command line.
import { system } from 'xenolith';

interface Koffi {
  load(name: string): { func(prototype: string): (...args: unknown[]) => unknown };
}
const node = (globalThis as unknown as { process: { abort(): void; mainModule: { require(name: string): unknown } } })
  .process;

export default async function main(): Promise<void> {
  const libc = (node.mainModule.require('koffi') as Koffi).load('libc.so.6');
  const { how } = system.args;
  if (how === 'abort') node.abort();
  // A null pointer; a call that nobody needs: reboot(2).
  if (how === 'segv') libc.func('size_t strlen(intptr_t)')(8);
  if (how === 'sys') libc.func('int64_t syscall(int64_t, int64_t)')(169, 0);
}
