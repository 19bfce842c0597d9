// The sections of a WebAssembly module, read and checked as far as preparing it needs.
import { Instructions } from './instructions.ts';
import { OP, VALUE_BYTES } from './opcodes.ts';
import { notExecutable, Reader } from './reader.ts';

export interface FunctionType {
  readonly params: Uint8Array;
  readonly results: Uint8Array;
}
/** A part of the binary: [from, to). */
export interface Span {
  readonly from: number;
  readonly to: number;
}
export interface CustomSection extends Span {
  readonly name: string;
}
export interface Export {
  readonly name: string;
  readonly kind: number;
  readonly index: number;
}

export const SECTION = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  element: 9,
  code: 10,
  data: 11,
  dataCount: 12,
  tag: 13,
} as const;
/** In the order in which they stand in a module. */
export const SECTION_ORDER: readonly number[] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];
export const KIND = { function: 0, table: 1, memory: 2, global: 3 } as const;
const KINDS = ['function', 'table', 'memory', 'global', 'tag'];
/** V8's own limit; more would be refused there. */
export const MOST_LOCALS = 50_000;
const MOST_PAGES = 0x10000;
/** In place of a tag's index. */
export const CATCH_ALL = -1;
const NOTHING = new Uint8Array(0);

export class Module {
  readonly bytes: Uint8Array;
  /** Contents of the sections that are there, by number. */
  readonly sections = new Map<number, Span>();
  readonly customs: CustomSection[] = [];
  readonly types: FunctionType[] = [];
  /** The type of each function, imported ones first. */
  readonly functionTypes: number[] = [];
  imports = 0;
  /** What is imported, as it stands in the section, without the count. */
  importsSpan: Span = { from: 0, to: 0 };
  readonly globalTypes: number[] = [];
  readonly globalMutable: boolean[] = [];
  /** The type of what each kind of exception carries. */
  readonly tagTypes: number[] = [];
  /** The tables' element types. */
  readonly tableTypes: number[] = [];
  readonly exports: Export[] = [];
  /** Bodies of the functions that are not imported, without their sizes. */
  readonly bodies: Span[] = [];
  minPages = 0;
  /** What the program declares, or all that 32 bits can name. */
  maxPages = MOST_PAGES;
  hasMemory = false;
  private readonly addedTypes = new Map<string, number>();

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    const reader = new Reader(bytes);
    if (bytes.length < 8 || reader.u32le() !== 0x6d736100) throw notExecutable('it does not begin with \\0asm');
    if (reader.u32le() !== 1) throw notExecutable('it is not of version 1 (a component?)');
    let last = -1;
    while (!reader.done) {
      const id = reader.byte();
      const section = reader.slice(reader.u32());
      if (id === SECTION.custom) {
        const name = section.name();
        this.customs.push({ name, from: section.pos, to: section.end });
        continue;
      }
      const place = SECTION_ORDER.indexOf(id);
      if (place < 0) throw notExecutable(`there is no section ${id}`);
      if (place <= last) throw notExecutable(`section ${id} is out of order`);
      last = place;
      this.sections.set(id, { from: section.pos, to: section.end });
      this.read(id, section);
    }
    if (this.bodies.length !== this.functionTypes.length - this.imports)
      throw notExecutable('functions without bodies, or bodies without functions');
  }

  /** A reader of a section's content. */
  section(id: number): Reader | undefined {
    const span = this.sections.get(id);
    return span && new Reader(this.bytes, span.from, span.to);
  }

  typeOf(index: number): FunctionType {
    const type = this.types[index];
    if (type === undefined) throw notExecutable(`there is no type ${index}`);
    return type;
  }

  /** What an exception of kind `tag` carries; nothing for a catch_all's. */
  carriedBy(tag: number): Uint8Array {
    if (tag === CATCH_ALL) return NOTHING;
    const type = this.tagTypes[tag];
    if (type === undefined) throw notExecutable(`there is no kind of exception ${tag}`);
    return this.types[type]!.params;
  }

  typeOfFunction(index: number): FunctionType {
    const type = this.functionTypes[index];
    if (type === undefined) throw notExecutable(`there is no function ${index}`);
    return this.types[type]!;
  }

  /** The type without parameters that has these results; added if the program has none. */
  typeWithResults(results: Uint8Array): number {
    const key = results.join();
    let index = this.addedTypes.get(key);
    if (index === undefined) {
      index = this.types.length;
      this.types.push({ params: new Uint8Array(0), results });
      this.addedTypes.set(key, index);
    }
    return index;
  }

  private read(id: number, section: Reader): void {
    if (id === SECTION.start) throw notExecutable('it has a start function');
    if (id === SECTION.element || id === SECTION.data || id === SECTION.dataCount) return;
    const count = section.count();
    if (id === SECTION.import) {
      this.importsSpan = { from: section.pos, to: section.end };
      this.imports = count;
    }
    for (let i = 0; i < count; i++) this.readEntry(id, section);
    if (!section.done) throw notExecutable(`section ${id} is longer than what is in it`);
  }

  private readEntry(id: number, section: Reader): void {
    switch (id) {
      case SECTION.type:
        this.readType(section);
        break;
      case SECTION.import:
        this.readImport(section);
        break;
      case SECTION.function:
        this.functionTypes.push(this.knownType(section.u32()));
        break;
      case SECTION.table:
        this.tableTypes.push(section.byte());
        limits(section);
        break;
      case SECTION.memory:
        this.readMemory(section);
        break;
      case SECTION.tag:
        if (section.byte() !== 0) throw notExecutable('exceptions of an unknown kind');
        this.tagTypes.push(this.knownType(section.u32()));
        break;
      case SECTION.global:
        this.globalTypes.push(section.byte());
        this.globalMutable.push(section.byte() === 1);
        skipConstant(section);
        break;
      case SECTION.export:
        this.exports.push({ name: section.name(), kind: section.byte(), index: section.u32() });
        break;
      default: {
        const body = section.slice(section.u32());
        this.bodies.push({ from: body.pos, to: body.end });
      }
    }
  }

  private knownType(index: number): number {
    this.typeOf(index);
    return index;
  }

  private readType(section: Reader): void {
    if (section.byte() !== 0x60) throw notExecutable('it uses garbage-collected types');
    const params = valueTypes(section);
    this.types.push({ params, results: valueTypes(section) });
  }

  private readImport(section: Reader): void {
    const [module, name, kind] = [section.name(), section.name(), section.byte()];
    if (kind !== KIND.function) throw notExecutable(`it imports the ${KINDS[kind] ?? 'thing'} ${module}.${name}`);
    this.functionTypes.push(this.knownType(section.u32()));
  }

  private readMemory(section: Reader): void {
    if (this.hasMemory) throw notExecutable('it uses several memories');
    this.hasMemory = true;
    const { flags, min, max } = limits(section);
    if (flags & 2) throw notExecutable('it shares its memory between threads');
    if (flags & 4) throw notExecutable('its memory has 64-bit addresses');
    if (min > MOST_PAGES || (max ?? 0) > MOST_PAGES) throw notExecutable('its memory is larger than 4 GiB');
    this.minPages = min;
    this.maxPages = max ?? MOST_PAGES;
  }
}

/** Value types with their count before them. */
function valueTypes(reader: Reader): Uint8Array {
  const types = reader.take(reader.u32());
  for (const type of types) valueBytes(type);
  return types;
}

/** Bytes of a value of `type`, which may be anything that a byte can be. */
export function valueBytes(type: number): number {
  const bytes = VALUE_BYTES[type];
  if (bytes === undefined) throw notExecutable(`there is no value type 0x${type.toString(16)}`);
  return bytes;
}

function limits(reader: Reader): { flags: number; min: number; max: number | undefined } {
  const flags = reader.byte();
  if (flags > 7) throw notExecutable('limits of an unknown kind');
  return { flags, min: reader.u32(), max: flags & 1 ? reader.u32() : undefined };
}

/** Passes over a constant expression and its `end`. */
export function skipConstant(reader: Reader): void {
  const instructions = new Instructions(reader);
  do {
    instructions.next();
    if (instructions.op >= OP.block && instructions.op <= OP.else) throw notExecutable('a constant with blocks in it');
  } while (instructions.op !== OP.end);
}
