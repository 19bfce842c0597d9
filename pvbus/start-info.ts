// What the domain builder left for the guest, checked before anything believes it.

import { MAX_GUEST_CMDLINE, SIF_MOD_START_PFN, StartInfo, start_info, start_info_console_domU } from './abi/xen.ts';
import { domain_control, PAGE_SIZE, XENOLITH_IMAGE_MAGIC, xenolith_image } from './abi/xenolith.ts';
import { type EvtchnPort, type Gfn, gfn, port } from './brands.ts';
import { XenError } from './errors.ts';
import { getU64 } from './struct.ts';
import type { Vcpu } from './vcpu.ts';

export interface GuestStartInfo {
  /** start_info itself. */
  readonly frame: Gfn;
  readonly nr_pages: number;
  readonly store: { readonly gfn: Gfn; readonly port: EvtchnPort };
  readonly console: { readonly gfn: Gfn; readonly port: EvtchnPort };
  readonly cmdline: string;
  /** The kernel's own text; guest address and length with its header. */
  readonly kernel: { readonly address: number; readonly length: number };
  /** The ramdisk; undefined when there is none. */
  readonly module: { readonly address: number; readonly length: number } | undefined;
}

const decoder = new TextDecoder();
const wrong = (what: string): XenError => new XenError('EINVAL', `start_info: ${what}`);

/** Throws EINVAL naming the field that makes no sense. */
export function readStartInfo({ memory, layout, domid }: Vcpu): GuestStartInfo {
  const { view, bytes } = memory;
  const control = layout.control * PAGE_SIZE;
  const at = getU64(view, control + domain_control.at.start_info);
  const entry = getU64(view, control + domain_control.at.entry);
  const ram = layout.maxPages * PAGE_SIZE;
  if (at % PAGE_SIZE !== 0 || at + start_info.size > ram)
    throw wrong(`its address ${at} is not in dom${domid}'s memory`);
  const info = new StartInfo(view, at);
  const magic = text(bytes, at + start_info.at.magic, 32);
  if (!magic.startsWith('xen-')) throw wrong(`magic '${magic}'`);
  const nr_pages = getU64(view, at + start_info.at.nr_pages);
  if (nr_pages < 1 || nr_pages > layout.maxPages) throw wrong(`${nr_pages} pages of at most ${layout.maxPages}`);
  const frame = (field: string, n: number): Gfn => {
    if (n < nr_pages) return gfn(n);
    throw wrong(`${field} ${n} is not in the domain's memory`);
  };
  const domU = at + start_info.at.console;
  const modLength = getU64(view, at + start_info.at.mod_len);
  const modStart = getU64(view, at + start_info.at.mod_start);
  const modAddress = (info.flags & SIF_MOD_START_PFN) !== 0 ? modStart * PAGE_SIZE : modStart;
  if (modLength > 0 && modAddress + modLength > nr_pages * PAGE_SIZE) throw wrong('the ramdisk ends outside memory');
  const kernelLength = xenolith_image.size + view.getUint32(entry + xenolith_image.at.length, true);
  return {
    frame: gfn(at / PAGE_SIZE),
    nr_pages,
    store: {
      gfn: frame('store_mfn', getU64(view, at + start_info.at.store_mfn)),
      port: port(info.store_evtchn),
    },
    console: {
      gfn: frame('console.domU.mfn', getU64(view, domU + start_info_console_domU.at.mfn)),
      port: port(view.getUint32(domU + start_info_console_domU.at.evtchn, true)),
    },
    cmdline: text(bytes, at + start_info.at.cmd_line, MAX_GUEST_CMDLINE),
    kernel: { address: entry, length: kernelLength },
    module: modLength > 0 ? { address: modAddress, length: modLength } : undefined,
  };
}

/** The program's text; undefined when there is no ramdisk. */
export function readModule(vcpu: Vcpu, info: GuestStartInfo): string | undefined {
  const bytes = moduleBytes(vcpu, info);
  return bytes && decoder.decode(bytes.slice());
}
/** What the domain builder has loaded as its ramdisk, in the domain's memory; undefined when there is none. */
export function moduleBytes({ memory }: Vcpu, { module }: GuestStartInfo): Uint8Array | undefined {
  if (!module) return undefined;
  let { address, length } = module;
  if (length >= xenolith_image.size && memory.view.getUint32(address, true) === XENOLITH_IMAGE_MAGIC) {
    const inner = memory.view.getUint32(address + xenolith_image.at.length, true);
    if (inner > length - xenolith_image.size) throw wrong('the ramdisk is shorter than its header says');
    address += xenolith_image.size;
    length = inner;
  }
  return memory.bytes.subarray(address, address + length);
}

function text(bytes: Uint8Array, at: number, room: number): string {
  const field = bytes.subarray(at, at + room);
  const end = field.indexOf(0);
  return decoder.decode(field.slice(0, end < 0 ? room : end));
}
