// Makes a WASI command one that can be suspended: see prepared.ts for what comes out, outline.ts for how.
import { CallGraph, eachElement, eachFunctionOfConstant } from './call-graph.ts';
import { ADDED_IMPORTS, copyBody, FunctionBody, moved } from './function-body.ts';
import { type FunctionType, KIND, Module, SECTION, type Span } from './module.ts';
import { F32, F64, I32, I64, OP } from './opcodes.ts';
import {
  PAGE_BYTES,
  PREPARED_GLOBAL,
  PREPARED_GLOBALS,
  PREPARED_MODULE,
  PREPARED_SECTION,
  PREPARED_VERSION,
  SAVE_PAGES,
} from './prepared.ts';
import { notExecutable, Reader } from './reader.ts';
import type { Additions } from './suspension.ts';
import { Writer } from './writer.ts';

/** A step reads or writes about so much code. */
const STEP_BYTES = 16 * 1024;
const MOST_PAGES = 0x10000;

/** The prepared program. Throws XenError ENOEXEC, with the reason, for what is none or cannot be prepared. */
export function prepareProgram(bytes: Uint8Array): Uint8Array {
  const steps = prepareInSteps(bytes);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** As prepareProgram, with a stop after each millisecond or so of work (one huge function is one step). */
export function* prepareInSteps(bytes: Uint8Array): Generator<undefined, Uint8Array> {
  const module = new Module(bytes);
  checkProgram(module);
  let budget = STEP_BYTES;
  /** Whether a step is over, once this body has been read or written. */
  const spent = ({ from, to }: Span): boolean => {
    budget -= to - from;
    if (budget > 0) return false;
    budget = STEP_BYTES;
    return true;
  };

  const graph = new CallGraph(module);
  for (const [body, span] of module.bodies.entries()) {
    graph.readBody(body);
    if (spent(span)) yield;
  }
  graph.finish();
  yield;

  const [room, grow] = [addType(module, [I32], []), addType(module, [I32], [I32])];
  const globals = module.globalTypes.length;
  const additions: Additions = {
    state: globals,
    fuel: globals + 1,
    sp: globals + 2,
    end: globals + 3,
    pages: globals + 4,
    grow: module.imports,
    room: module.imports + 1,
  };
  const code = new Writer(bytes.length);
  code.u32(module.bodies.length);
  const [body, scratch] = [new Writer(), new Writer()];
  for (const [index, span] of module.bodies.entries()) {
    body.clear();
    if (graph.maySuspend[index])
      new FunctionBody(module, graph, additions, index, scratch).write(graph.counted[index] === 1, body);
    else copyBody(module, additions, index, body);
    code.sized(body.written);
    if (spent(span)) yield;
  }
  return assemble(module, code, { room, grow }, graph.keepsTables && globalsAreNumbers(module));
}

function addType(module: Module, params: number[], results: number[]): number {
  module.types.push({ params: Uint8Array.from(params), results: Uint8Array.from(results) });
  return module.types.length - 1;
}

function checkProgram(module: Module): void {
  if (module.customs.some(({ name }) => name === PREPARED_SECTION))
    throw notExecutable('it was prepared by another version of xenolith');
  if (!module.hasMemory) throw notExecutable('it has no memory');
  if (module.minPages + SAVE_PAGES >= MOST_PAGES) throw notExecutable('its memory leaves no room for a save area');
  const names = new Set<string>();
  for (const { name, kind } of module.exports) {
    names.add(name);
    if (name.startsWith('xenolith_') || (name === 'memory' && kind !== KIND.memory))
      throw notExecutable(`it exports ${name}, which is not a program's`);
  }
  const start = module.exports.find(({ name, kind }) => name === '_start' && kind === KIND.function);
  if (start === undefined)
    throw notExecutable(names.has('_initialize') ? 'it is a library (a WASI reactor)' : 'it has no _start');
  const { params, results } = module.typeOfFunction(start.index);
  if (start.index < module.imports || params.length + results.length > 0)
    throw notExecutable('its _start is not one of a WASI command');
}

/** Those that change: whoever has the program can read and set them. */
function globalsAreNumbers({ globalTypes, globalMutable }: Module): boolean {
  return globalTypes.every((type, index) => !globalMutable[index] || [I32, I64, F32, F64].includes(type));
}

function assemble(module: Module, code: Writer, types: { room: number; grow: number }, movable: boolean): Uint8Array {
  const out = new Writer(code.length + module.bytes.length);
  out.raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  const section = new Writer();
  const put = (id: number): void => {
    out.byte(id);
    out.sized(section.written);
    section.clear();
  };
  const putAsItIs = (id: number): void => {
    const span = module.sections.get(id);
    if (span === undefined) return;
    out.byte(id);
    out.sized(module.bytes.subarray(span.from, span.to));
  };

  section.name(PREPARED_SECTION);
  section.byte(PREPARED_VERSION);
  section.u32(module.minPages);
  section.u32(module.maxPages);
  section.u32(SAVE_PAGES);
  section.byte(movable ? 1 : 0);
  put(SECTION.custom);
  writeTypes(module.types, section);
  put(SECTION.type);
  writeImports(module, types, section);
  put(SECTION.import);
  putAsItIs(SECTION.function);
  putAsItIs(SECTION.table);
  section.u32(1);
  section.byte(0);
  section.u32(module.minPages + SAVE_PAGES);
  put(SECTION.memory);
  putAsItIs(SECTION.tag);
  writeGlobals(module, section);
  put(SECTION.global);
  writeExports(module, section);
  put(SECTION.export);
  if (writeElements(module, section)) put(SECTION.element);
  putAsItIs(SECTION.dataCount);
  out.byte(SECTION.code);
  out.sized(code.written);
  putAsItIs(SECTION.data);
  for (const custom of module.customs) {
    const content = new Reader(module.bytes, custom.from, custom.to);
    if (!isKept(custom.name)) continue;
    section.name(custom.name);
    if (custom.name === 'name') writeNames(content, module.imports, section);
    else section.copy(module.bytes, custom.from, custom.to);
    put(SECTION.custom);
  }
  return out.written;
}

function writeTypes(types: readonly FunctionType[], to: Writer): void {
  to.u32(types.length);
  for (const { params, results } of types) {
    to.byte(0x60);
    to.sized(params);
    to.sized(results);
  }
}

function writeImports(module: Module, types: { room: number; grow: number }, to: Writer): void {
  to.u32(module.imports + ADDED_IMPORTS);
  to.copy(module.bytes, module.importsSpan.from, module.importsSpan.to);
  for (const name of ['grow', 'room'] as const) {
    to.name(PREPARED_MODULE);
    to.name(name);
    to.byte(KIND.function);
    to.u32(types[name]);
  }
}

function writeGlobals(module: Module, to: Writer): void {
  to.u32(module.globalTypes.length + PREPARED_GLOBALS.length);
  const section = module.section(SECTION.global);
  if (section !== undefined) {
    let copied = 0;
    const copy = (until: number): void => to.copy(module.bytes, copied, until);
    for (let n = section.count(); n > 0; n--) {
      copied = section.pos;
      section.skip(2);
      eachFunctionOfConstant(section, (index, from, until) => {
        copy(from);
        to.u32(moved(module, index));
        copied = until;
      });
      copy(section.pos);
    }
  }
  const top = module.minPages * PAGE_BYTES;
  for (const value of [0, 0x7fffffff, top, top + SAVE_PAGES * PAGE_BYTES, module.minPages]) {
    to.byte(I32);
    to.byte(1);
    to.byte(OP.i32_const);
    to.i32(value);
    to.byte(OP.end);
  }
}

function writeExports(module: Module, to: Writer): void {
  const { exports } = module;
  const addMemory = !exports.some(({ name }) => name === 'memory');
  const state = module.globalMutable.flatMap((mutable, index) => (mutable ? [index] : []));
  to.u32(exports.length + PREPARED_GLOBALS.length + (addMemory ? 1 : 0) + state.length);
  const one = (name: string, kind: number, index: number): void => {
    to.name(name);
    to.byte(kind);
    to.u32(index);
  };
  for (const { name, kind, index } of exports) one(name, kind, kind === KIND.function ? moved(module, index) : index);
  if (addMemory) one('memory', KIND.memory, 0);
  for (const [i, name] of PREPARED_GLOBALS.entries()) one(name, KIND.global, module.globalTypes.length + i);
  for (const index of state) one(`${PREPARED_GLOBAL}${index}`, KIND.global, index);
}

/** False when there are none. */
function writeElements(module: Module, to: Writer): boolean {
  const section = module.section(SECTION.element);
  if (section === undefined) return false;
  let copied = section.pos;
  for (let n = section.count(); n > 0; n--) {
    eachElement(section, (index, from, until) => {
      to.copy(module.bytes, copied, from);
      to.u32(moved(module, index));
      copied = until;
    });
  }
  to.copy(module.bytes, copied, section.end);
  return true;
}

/** What speaks of places in the code does not hold any more. */
function isKept(name: string): boolean {
  return !/^(\.debug|reloc\.|linking$|sourceMappingURL$|external_debug_info$|metadata\.code\.)/.test(name);
}

const NAMES = { module: 0, functions: 1, locals: 2, labels: 3 } as const;

/** The names of functions move with them; those of labels and local variables go. A damaged section ends early. */
function writeNames(section: Reader, imports: number, to: Writer): void {
  const part = new Writer();
  try {
    while (!section.done) {
      const id = section.byte();
      const content = section.slice(section.u32());
      if (id === NAMES.locals || id === NAMES.labels) continue;
      part.clear();
      if (id === NAMES.functions) {
        const count = content.count();
        part.u32(count);
        for (let n = count; n > 0; n--) {
          const index = content.u32();
          part.u32(index < imports ? index : index + ADDED_IMPORTS);
          part.sized(content.take(content.u32()));
        }
      } else part.copy(content.bytes, content.pos, content.end);
      to.byte(id);
      to.sized(part.written);
    }
  } catch {
    // A custom section is nobody's business but its reader's.
  }
}
