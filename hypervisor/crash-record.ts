import {
  type Arena,
  type DomainLayout,
  PAGE_SIZE,
  VCPU_CRASH_RECORD,
  VCPU_CRASH_RECORD_SIZE,
  vcpu_page,
  vcpuFrame,
} from '#pvbus';

/** What a thread of the domain wrote before it ended its process. untrusted: bounded, and made printable. */
export function crashRecord(memory: Arena, layout: DomainLayout, vcpus: readonly number[]): string | undefined {
  for (const vcpu of vcpus) {
    const page = vcpuFrame(layout, vcpu) * PAGE_SIZE;
    const length = Math.min(memory.view.getUint32(page + vcpu_page.at.crash_length, true), VCPU_CRASH_RECORD_SIZE);
    if (length === 0) continue;
    const at = page + VCPU_CRASH_RECORD;
    const text = new TextDecoder().decode(memory.bytes.slice(at, at + length));
    return `vcpu${vcpu}: ${text.replace(/[^\x20-\x7e\n]/g, '?')}`;
  }
  return undefined;
}
