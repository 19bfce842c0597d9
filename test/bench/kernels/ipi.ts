// Interrupts between a domain's two vCPUs: vCPU 0 sends one, and has one back.
import {
  __HYPERVISOR_vcpu_op,
  attachSibling,
  cpu_user_regs,
  crashExit,
  PAGE_SIZE,
  readStartInfo,
  setU64,
  VCPUOP_initialise,
  VCPUOP_up,
  type Vcpu,
  vcpu_guest_context,
  XenError,
} from '#pvbus';
import type { HandedSibling } from '../../../domu-kernel/guest-kernel.ts';
import { freeFrames } from '../../../domu-kernel/memory-frames.ts';
import { SmpArea } from '../../../domu-kernel/smp/area.ts';
import { type Boot, each, serve } from './lib.ts';

const NR_VCPUS = 2;
/** Behind the area: not 0 while vCPU 1 is not to sleep. */
const spinWord = (area: number): number => area / 4 + (SmpArea.frames(NR_VCPUS) * PAGE_SIZE) / 4;

function bringUp(vcpu: Vcpu, entry: number, area: number): void {
  const { scratch } = vcpu;
  const at = scratch.reset().alloc(vcpu_guest_context.size);
  const regs = at + vcpu_guest_context.at.user_regs;
  setU64(scratch.view, regs + cpu_user_regs.at.rip, entry);
  setU64(scratch.view, regs + cpu_user_regs.at.rsi, area);
  for (const [cmd, arg] of [
    [VCPUOP_initialise, at],
    [VCPUOP_up, 0],
  ] as const) {
    const rc = vcpu.hypercall(__HYPERVISOR_vcpu_op, cmd, 1, arg);
    if (rc < 0) throw new XenError('EINVAL', `vcpu_op ${cmd}: ${rc}`);
  }
}

export function start(boot: Boot): void {
  serve(boot, vcpu => {
    const { events, memory } = vcpu;
    const info = readStartInfo(vcpu);
    vcpu.frames = freeFrames(info);
    const address = vcpu.frames.alloc(SmpArea.frames(NR_VCPUS) + 1) * PAGE_SIZE;
    const area = SmpArea.create(memory, address, NR_VCPUS, undefined);
    for (let id = 0; id < NR_VCPUS; id++) area.setPorts(id, events.bindIpi(id), events.bindIpi(id));
    Atomics.store(memory.words, spinWord(address), 0);
    let answers = 0;
    events.on(area.callPort(0), () => {
      answers++;
    });
    const there = area.callPort(1);
    bringUp(vcpu, info.kernel.address, address);
    return {
      'round-trip': (mode, rounds) => {
        const spins = mode === 'spinning';
        Atomics.store(memory.words, spinWord(address), spins ? 1 : 0);
        const measured = each(Number(rounds), 1, () => {
          const seen = answers;
          events.notify(there);
          while (answers === seen) if (!events.poll() && !spins) vcpu.block();
        });
        Atomics.store(memory.words, spinWord(address), 0);
        return measured;
      },
    };
  });
}

export function startSibling({ controlFd, boot, argument }: HandedSibling): void {
  const vcpu = attachSibling(controlFd, boot, SmpArea.mappedAt(boot.fd, argument));
  try {
    const { events, memory } = vcpu;
    const area = new SmpArea(memory, argument);
    const back = area.callPort(0);
    events.on(area.callPort(1), () => events.notify(back));
    for (;;) {
      vcpu.yieldIfAsked();
      if (!events.poll() && Atomics.load(memory.words, spinWord(argument)) === 0) vcpu.block();
    }
  } catch (error) {
    crashExit(vcpu, error);
  }
}
