// Why a domain crashed: the record its dying thread wrote into its vCPU's page, or what the hypervisor saw.
import { type Domid, MAX_VCPUS, VCPU_CRASH_RECORD, VCPU_CRASH_RECORD_SIZE, vcpu_page, vcpuFrame } from '#pvbus';
import type { Xc } from './xc.ts';

const MAX_LINE = 400;

/** One line; undefined when nobody knows. The domain must exist. */
export function crashMessage(xc: Xc, domid: Domid): string | undefined {
  return (crashRecord(xc, domid) ?? hypervisorsWord(xc, domid))?.slice(0, MAX_LINE);
}

/** The first line of what the domain itself said; undefined when its process was killed. */
function crashRecord(xc: Xc, domid: Domid): string | undefined {
  return xc.withForeign(domid, MAX_VCPUS, ({ layout, frames }) => {
    for (let vcpu = 0; vcpu < layout.maxVcpus; vcpu++) {
      const { bytes, view } = frames(vcpuFrame(layout, vcpu), 1);
      // untrusted: the guest's own memory. Bounded here, made printable by the log.
      const length = Math.min(view.getUint32(vcpu_page.at.crash_length, true), VCPU_CRASH_RECORD_SIZE);
      if (length === 0) continue;
      const text = bytes.slice(VCPU_CRASH_RECORD, VCPU_CRASH_RECORD + length);
      return new TextDecoder().decode(text).split('\n', 1)[0];
    }
    return undefined;
  });
}

/** What the hypervisor's console says of the domain's end, e.g. that its process was killed. */
function hypervisorsWord(xc: Xc, domid: Domid): string | undefined {
  const said = new RegExp(`^\\(XEN\\) dom${domid}: shut down, crash: (.*)$`, 'gm');
  return [...xc.readConsole(false).matchAll(said)].at(-1)?.[1];
}
