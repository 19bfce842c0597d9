// The ELF core of a domain: sections, no program headers. Xen: docs/misc/dump-core-format.txt, elfnote.h.
import { PAGE_SIZE } from '#pvbus';
import type { XcVersion } from './xc.ts';

const ELF_HEADER_SIZE = 64;
const SECTION_HEADER_SIZE = 64;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EV_CURRENT = 1;
const ET_CORE = 4;
const EM_X86_64 = 62;
const SHT_PROGBITS = 1;
const SHT_STRTAB = 3;
const SHT_NOTE = 7;

const XEN_ELFNOTE_DUMPCORE_NONE = 0x2000000;
const XEN_ELFNOTE_DUMPCORE_HEADER = 0x2000001;
const XEN_ELFNOTE_DUMPCORE_XEN_VERSION = 0x2000002;
const XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION = 0x2000003;
/** A paravirtual domain's. */
const XC_CORE_MAGIC = 0xf00febed;
const FORMAT_VERSION = 1;

export interface CoreContents {
  readonly version: XcVersion;
  /** vcpu_guest_context of each vCPU that has one. */
  readonly contexts: readonly Uint8Array[];
  readonly sharedInfo: Uint8Array;
  /** How many frames there are, from gfn 0 on. */
  readonly nrPages: number;
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly align: number;
  readonly entrySize: number;
  readonly size: number;
  /** null: it is left out here, for the caller to write. */
  readonly bytes: Uint8Array | null;
}

export interface CoreFile {
  readonly size: number;
  /** Where the memory goes: nrPages frames. */
  readonly pagesAt: number;
  /** All the rest. */
  readonly parts: readonly { readonly at: number; readonly bytes: Uint8Array }[];
}

export function coreFile(contents: CoreContents): CoreFile {
  const { contexts, sharedInfo, nrPages } = contents;
  const progbits = { type: SHT_PROGBITS, align: 8 };
  const of = (bytes: Uint8Array): { bytes: Uint8Array; size: number } => ({ bytes, size: bytes.length });
  const sections: Section[] = [
    { name: '.note.Xen', type: SHT_NOTE, align: 4, entrySize: 0, ...of(notes(contents)) },
    { name: '.xen_prstatus', ...progbits, entrySize: contexts[0]?.length ?? 0, ...of(Buffer.concat(contexts)) },
    { name: '.xen_shared_info', ...progbits, entrySize: PAGE_SIZE, ...of(sharedInfo) },
    {
      ...{ name: '.xen_pages', type: SHT_PROGBITS, align: PAGE_SIZE, entrySize: PAGE_SIZE },
      ...{ size: nrPages * PAGE_SIZE, bytes: null },
    },
    // Frame numbers are the guest's own: a list of them, where other paravirtual domains have their p2m table.
    { name: '.xen_pfn', ...progbits, entrySize: 8, ...of(frameNumbers(nrPages)) },
  ];
  return place(sections);
}

/** Each section behind the one before; the names of all at the end. */
function place(sections: readonly Section[]): CoreFile {
  const strings = Buffer.from(`\0.shstrtab\0${sections.map(({ name }) => `${name}\0`).join('')}`);
  const names = {
    ...{ name: '.shstrtab', type: SHT_STRTAB, align: 1, entrySize: 0, size: strings.length, bytes: strings },
  };
  const all: readonly Section[] = [...sections, names];
  const headers = Buffer.alloc(ELF_HEADER_SIZE + (all.length + 1) * SECTION_HEADER_SIZE);
  writeElfHeader(headers, all.length + 1);
  const parts: { at: number; bytes: Uint8Array }[] = [];
  let pagesAt = 0;
  let end = headers.length;
  for (const [i, { name, type, align, entrySize, size, bytes }] of all.entries()) {
    const at = Math.ceil(end / align) * align;
    if (bytes === null) pagesAt = at;
    else parts.push({ at, bytes });
    const h = ELF_HEADER_SIZE + (i + 1) * SECTION_HEADER_SIZE;
    headers.writeUInt32LE(strings.indexOf(`\0${name}\0`) + 1, h);
    headers.writeUInt32LE(type, h + 4);
    headers.writeBigUInt64LE(BigInt(at), h + 24);
    headers.writeBigUInt64LE(BigInt(size), h + 32);
    headers.writeBigUInt64LE(BigInt(align), h + 48);
    headers.writeBigUInt64LE(BigInt(entrySize), h + 56);
    end = at + size;
  }
  return { size: end, pagesAt, parts: [{ at: 0, bytes: headers }, ...parts] };
}

function writeElfHeader(to: Buffer, sections: number): void {
  to.write('\x7fELF', 'latin1');
  to.set([ELFCLASS64, ELFDATA2LSB, EV_CURRENT], 4);
  to.writeUInt16LE(ET_CORE, 16);
  to.writeUInt16LE(EM_X86_64, 18);
  to.writeUInt32LE(EV_CURRENT, 20);
  to.writeBigUInt64LE(BigInt(ELF_HEADER_SIZE), 40);
  to.writeUInt16LE(ELF_HEADER_SIZE, 52);
  to.writeUInt16LE(SECTION_HEADER_SIZE, 58);
  to.writeUInt16LE(sections, 60);
  to.writeUInt16LE(sections - 1, 62); // the names' own
}

function notes({ version, contexts, nrPages }: CoreContents): Buffer {
  return Buffer.concat([
    note(XEN_ELFNOTE_DUMPCORE_NONE, Buffer.alloc(0)),
    note(XEN_ELFNOTE_DUMPCORE_HEADER, numbers(XC_CORE_MAGIC, contexts.length, nrPages, PAGE_SIZE)),
    note(XEN_ELFNOTE_DUMPCORE_XEN_VERSION, versionNote(version)),
    note(XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, numbers(FORMAT_VERSION)),
  ]);
}
function note(type: number, desc: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(4, 0);
  head.writeUInt32LE(desc.length, 4);
  head.writeUInt32LE(type, 8);
  head.write('Xen\0', 12, 'latin1');
  return Buffer.concat([head, desc]); // every desc is a multiple of 8 bytes
}
/** The structs of Xen's version hypercall, one after the other, between u64s. */
function versionNote(version: XcVersion): Buffer {
  return Buffer.concat([
    numbers(version.major, version.minor),
    text(version.extraversion, 16),
    text(version.compiler, 64),
    text(version.compile_by, 16),
    text(version.compile_domain, 32),
    text(version.compile_date, 32),
    text(version.capabilities, 1024),
    text(version.changeset, 64),
    numbers(version.virt_start, version.pagesize),
  ]);
}
function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  for (const [i, value] of values.entries()) bytes.writeBigUInt64LE(BigInt(value), 8 * i);
  return bytes;
}
function text(value: string, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.write(value, 0, size - 1, 'utf8');
  return bytes;
}
function frameNumbers(count: number): Buffer {
  const bytes = Buffer.alloc(8 * count);
  for (let pfn = 0; pfn < count; pfn++) bytes.writeUInt32LE(pfn, 8 * pfn);
  return bytes;
}
