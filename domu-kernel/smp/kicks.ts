// How a vCPU waits for another one without holding its processor, and how that one wakes it: an IPI port of each, which
// has no handler and is polled.
import { PAGE_SIZE, type Vcpu, vcpu_page, vcpuFrame } from '#pvbus';
import type { SmpArea } from './area.ts';

export interface Kicks {
  /** This vCPU. */
  readonly id: number;
  /** Sleep until kicked, also when that has happened since `forget`. */
  wait(): void;
  /** Kicks so far are not meant for what comes. */
  forget(): void;
  kick(vcpu: number): void;
  /** Does it run just now? A hint: then what it holds may be free in a moment. */
  runs(vcpu: number): boolean;
}

export class PolledKicks implements Kicks {
  readonly id: number;
  private readonly vcpu: Vcpu;
  private readonly area: SmpArea;
  private readonly own: readonly [ReturnType<SmpArea['kickPort']>];

  constructor(vcpu: Vcpu, area: SmpArea) {
    this.id = vcpu.id;
    this.vcpu = vcpu;
    this.area = area;
    this.own = [area.kickPort(vcpu.id)];
  }
  wait(): void {
    this.vcpu.poll(this.own);
  }
  forget(): void {
    this.vcpu.events.take(this.own[0]);
  }
  kick(vcpu: number): void {
    this.vcpu.events.notify(this.area.kickPort(vcpu));
  }
  runs(vcpu: number): boolean {
    const { memory, layout } = this.vcpu;
    const page = (vcpuFrame(layout, vcpu) * PAGE_SIZE) / 4;
    const at = (field: 'grant' | 'event_sleeping' | 'reply_sleeping'): number =>
      Atomics.load(memory.words, page + vcpu_page.at[field] / 4);
    return at('grant') !== 0 && at('event_sleeping') === 0 && at('reply_sleeping') === 0;
  }
}
