// What a domain that crashed left to say: the record its dying thread wrote into its vCPU's page.
import { type Domid, PAGE_SIZE, VCPU_CRASH_RECORD, VCPU_CRASH_RECORD_SIZE, vcpu_page, vcpuFrame } from '#pvbus';
import type { Xc } from './xc.ts';

const MAX_LINE = 400;

/** Its first line; undefined when no vCPU wrote one, as when the process was killed. The domain must exist. */
export function crashMessage(xc: Xc, domid: Domid): string | undefined {
  const { memory, layout } = xc.mapForeign(domid);
  try {
    for (let vcpu = 0; vcpu < layout.maxVcpus; vcpu++) {
      const page = vcpuFrame(layout, vcpu) * PAGE_SIZE;
      // untrusted: the guest's own memory. Bounded here, made printable by the log.
      const length = Math.min(memory.view.getUint32(page + vcpu_page.at.crash_length, true), VCPU_CRASH_RECORD_SIZE);
      if (length === 0) continue;
      const at = page + VCPU_CRASH_RECORD;
      const text = new TextDecoder().decode(memory.bytes.slice(at, at + length));
      const [line = ''] = text.split('\n', 1);
      return line.slice(0, MAX_LINE);
    }
    return undefined;
  } finally {
    memory.release();
  }
}
