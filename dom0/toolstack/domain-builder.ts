// Start of day: what a domain's memory holds before its first instruction. From the bottom, each on
// frames of its own: an empty frame (so that no valid address is 0), kernel, ramdisk, start_info, the
// xenstore page, the console page. All above is free. Xen: xen.h, start_info.
import {
  domid as asDomid,
  type Domid,
  type EvtchnPort,
  type ForeignFrames,
  type Gfn,
  GNTTAB_RESERVED_CONSOLE,
  GNTTAB_RESERVED_XENSTORE,
  GTF_permit_access,
  gfn,
  grant_entry_v1,
  MAX_GUEST_CMDLINE,
  PAGE_SIZE,
  start_info,
  start_info_console,
  start_info_console_domU,
  XENOLITH_IMAGE_MAGIC,
  XenError,
  xenolith_image,
} from '#pvbus';
import type { Xc } from './xc.ts';

const DOM0 = asDomid(0);
const MAGIC = 'xen-3.0-x86_64';

export interface DomainImage {
  readonly kernel: Uint8Array;
  readonly ramdisk: Uint8Array | null;
  readonly cmdline: string;
}

/** What xenstored and consoled need to reach the new domain. */
export interface DomainRings {
  readonly storeGfn: Gfn;
  readonly storePort: EvtchnPort;
  readonly consoleGfn: Gfn;
  readonly consolePort: EvtchnPort;
}

const framesOf = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE);
const imageFrames = (image: Uint8Array): number => framesOf(xenolith_image.size + image.length);

interface Plan {
  readonly kernel: Gfn;
  readonly ramdisk: Gfn;
  readonly startInfo: Gfn;
  readonly store: Gfn;
  readonly console: Gfn;
  readonly end: number;
}
function plan(image: DomainImage): Plan {
  const kernel = 1;
  const ramdisk = kernel + imageFrames(image.kernel);
  const startInfo = ramdisk + (image.ramdisk === null ? 0 : imageFrames(image.ramdisk));
  return {
    kernel: gfn(kernel),
    ramdisk: gfn(ramdisk),
    startInfo: gfn(startInfo),
    store: gfn(startInfo + 1),
    console: gfn(startInfo + 2),
    end: startInfo + 3,
  };
}

/** The guest's own working memory: rings, I/O buffers, stacks. A domain with less than this is refused. */
const MIN_FREE_FRAMES = 64;

/** Throws E2BIG, EINVAL naming the config's key. Done before anything exists. */
export function checkImageFits(image: DomainImage, nrPages: number): void {
  const need = plan(image).end + MIN_FREE_FRAMES;
  if (need > nrPages) {
    const mib = (pages: number): string => String(Math.ceil(pages / 256));
    throw new XenError('E2BIG', `memory: ${mib(nrPages)} MiB do not hold kernel and ramdisk, ${mib(need)} MiB would`);
  }
  const length = Buffer.byteLength(image.cmdline);
  if (length >= MAX_GUEST_CMDLINE) {
    throw new XenError('EINVAL', `cmdline: ${length} bytes, at most ${MAX_GUEST_CMDLINE - 1} fit`);
  }
  if (image.cmdline.includes('\0')) throw new XenError('EINVAL', 'cmdline: it holds a NUL byte');
}

/** The first half of building an empty, populated domain: its rings, which dom0 may map from here on. */
export function makeRings(xc: Xc, domid: Domid, image: DomainImage): DomainRings {
  const at = plan(image);
  xc.populatePool(domid, DOM0, at.store, 2);
  const storePort = xc.allocUnbound(domid, DOM0);
  const consolePort = xc.allocUnbound(domid, DOM0);
  xc.withForeign(domid, 1, ({ layout, frames }) => {
    const grants = frames(layout.grantFrames, 1);
    grant(grants, GNTTAB_RESERVED_XENSTORE, at.store);
    grant(grants, GNTTAB_RESERVED_CONSOLE, at.console);
  });
  return { storeGfn: at.store, storePort, consoleGfn: at.console, consolePort };
}

/** The second: what its `nrPages` frames hold, so that unpausing it runs the kernel on the first `vcpus` of its vCPUs. */
export function loadDomain(
  xc: Xc,
  domid: Domid,
  nrPages: number,
  image: DomainImage,
  rings: DomainRings,
  vcpus = 1,
): void {
  checkImageFits(image, nrPages);
  const at = plan(image);
  xc.withForeign(domid, 1, ({ layout, frames, write }) => {
    writeImage(write, at.kernel, image.kernel);
    if (image.ramdisk !== null) writeImage(write, at.ramdisk, image.ramdisk);
    writeStartInfo(frames(at.startInfo, 1), layout.sharedInfo, at, image, nrPages, rings);
  });
  for (let vcpu = 0; vcpu < vcpus; vcpu++)
    xc.setVcpuContext(domid, vcpu, at.kernel * PAGE_SIZE, at.startInfo * PAGE_SIZE);
}

type Frames = ReturnType<ForeignFrames['frames']>;

/** Header, then text. */
function writeImage(write: ForeignFrames['write'], at: Gfn, text: Uint8Array): void {
  const header = new DataView(new ArrayBuffer(xenolith_image.size));
  header.setUint32(xenolith_image.at.magic, XENOLITH_IMAGE_MAGIC, true);
  header.setUint32(xenolith_image.at.length, text.length, true);
  write(at * PAGE_SIZE, new Uint8Array(header.buffer));
  write(at * PAGE_SIZE + xenolith_image.size, text);
}

function writeStartInfo(
  { bytes, view }: Frames,
  sharedInfo: number,
  at: Plan,
  image: DomainImage,
  nrPages: number,
  rings: DomainRings,
): void {
  const field = start_info.at;
  const text = (offset: number, value: string): void => bytes.set(Buffer.from(`${value}\0`), offset);
  const u64 = (offset: number, value: number): void => view.setBigUint64(offset, BigInt(value), true);
  const u32 = (offset: number, value: number): void => view.setUint32(offset, value, true);
  text(field.magic, MAGIC);
  u64(field.nr_pages, nrPages);
  u64(field.shared_info, sharedInfo * PAGE_SIZE);
  u32(field.flags, 0);
  u64(field.store_mfn, rings.storeGfn);
  u32(field.store_evtchn, rings.storePort);
  const domU = field.console + start_info_console.at.domU;
  u64(domU + start_info_console_domU.at.mfn, rings.consoleGfn);
  u32(domU + start_info_console_domU.at.evtchn, rings.consolePort);
  if (image.ramdisk !== null) {
    // The module is the text; its image header lies right in front.
    u64(field.mod_start, at.ramdisk * PAGE_SIZE + xenolith_image.size);
    u64(field.mod_len, image.ramdisk.length);
  }
  text(field.cmd_line, image.cmdline);
}

/** A grant that only the builder can make: the guest does not run yet. */
function grant({ view }: Frames, ref: number, frame: Gfn): void {
  const base = ref * grant_entry_v1.size;
  view.setUint16(base + grant_entry_v1.at.domid, DOM0, true);
  view.setUint32(base + grant_entry_v1.at.frame, frame, true);
  view.setUint16(base + grant_entry_v1.at.flags, GTF_permit_access, true);
}
