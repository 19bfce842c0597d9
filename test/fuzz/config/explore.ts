// Files of xl.cfg drawn at random, read by our parser and by libxlutil: what differs is a failure.
import { isDeepStrictEqual } from 'node:util';
import { parseDiskSpec } from '../../../tools/config/disk-spec.ts';
import { effectiveValues, parseConfig } from '../../../tools/config/parse.ts';
import fc from '../../support/properties.ts';
import type { Libxlutil, XluAnswer } from '../../support/xlu-config.ts';

/** Our reading of a file in the shape of libxlutil's answer. */
export function answer(content: Uint8Array): XluAnswer {
  const parsed = parseConfig(content, 'config');
  const effective = effectiveValues(parsed);
  let report = parsed.report;
  const specs = effective.get('disk');
  const disks = (parsed.ok && Array.isArray(specs) ? specs : []).map(spec => {
    if (typeof spec !== 'string') return null;
    const result = parseDiskSpec(spec);
    if ('disk' in result) return { spec, rc: 0, disk: libxlJson(result.disk) };
    for (const fault of result.faults) report += `config: ${fault}\n`;
    return { spec, rc: 22 };
  });
  const { assignments } = parsed;
  return { rc: parsed.ok ? 0 : 22, assignments, effective: Object.fromEntries(effective), disks, report };
}

/** libxl's JSON leaves out what is at its default and writes defbools as text. */
function libxlJson(disk: object): Record<string, unknown> {
  const json: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(disk)) {
    if (value === false && !/enable/.test(key)) continue;
    if (/enable/.test(key)) json[key] = value === true ? 'True' : 'False';
    else if (/readwrite|removable|is_cdrom/.test(key)) json[key] = Number(value);
    else if (key !== 'colo_port' || value !== 0) json[key] = value;
  }
  return json;
}

export const plain = (a: XluAnswer): unknown => {
  const { rc, assignments, effective, disks, report } = a;
  const order = (x: { line: number; op: string; name: string; value: unknown }) => [x.line, x.op, x.name, x.value];
  return { rc, assignments: assignments.map(order), effective, disks, report };
};

const pieces = (...atoms: string[]) => fc.constantFrom(...atoms);
const atom = pieces(
  ...['a', 'b.c', 'name', '=', '=', '=', '+=', '1', '0x1f', '"x"', "'y'", '"q\\q"', '"\\101"', '"\\n\\""', '['],
  ...[']', ',', ';', '\n', '\n', ' ', '\t', '@', '-', '# c\n', '#', 'A', 'é', '\r\n', '"', '[1,2]', 'a=1\n'],
  ...['b=[1]\n', 'b+=[2]', 'a+="z"', '(', '\\', '\f', '[["x"],\n 1 , ]', '\0'],
);

/** Tokens and rubbish in any order. */
const tokens = fc.array(atom, { minLength: 1, maxLength: 14 }).map(atoms => atoms.join(''));

const diskAtom = pieces(
  ...['raw', 'qcow2', 'qed', 'empty', 'xvda', 'sdb1', 'r', 'w', 'rw', '', ' ', '/x', 'cdrom', 'disk', ':cdrom', ':'],
  ...['=', 'vdev=', 'target=', 'format=', 'access=', 'backend=', 'backendtype=', 'script=', 'devtype=', 'discard'],
  ...['no-discard', 'direct-io-safe', 'specification=', 'virtio', 'phy', 'phy:', 'raw:', 'nbd:', 'aio:', 'bogus:'],
  ...['bogus=', '1', 'Z', '\\t', 'colo', 'colo-port=', 'hidden-disk='],
);
const parameter = fc
  .tuple(fc.array(diskAtom, { maxLength: 3 }), pieces(',', ',', ''))
  .map(([a, end]) => a.join('') + end);
const spec = fc
  .tuple(pieces('', '', '/x,raw,xvda,'), fc.array(parameter, { maxLength: 6 }))
  .map(([head, rest]) => head + rest.join(''));

/** Specifications of disks, whole and broken. */
const disks = fc
  .array(spec, { minLength: 1, maxLength: 20 })
  .map(specs => `disk=[${specs.map(text => `"${text}"`).join(',')}]\n`);

/** What differs in the first file of which anything does, the file made as small as can be. */
export function exploreConfigs(lib: Libxlutil, seed: number, files: number): string | undefined {
  const alike = (text: string): boolean => {
    const file = Buffer.from(text);
    const theirs = lib.ask(file);
    return theirs === null || isDeepStrictEqual(plain(answer(file)), plain(theirs));
  };
  const property = fc.property(fc.oneof({ arbitrary: tokens, weight: 3 }, { arbitrary: disks, weight: 1 }), alike);
  const { failed, counterexample } = fc.check(property, { numRuns: files, seed });
  if (!failed) return undefined;
  const [text] = counterexample!;
  const file = Buffer.from(text);
  const show = (what: unknown): string => JSON.stringify(what, undefined, 1);
  const [ours, theirs] = [plain(answer(file)), plain(lib.ask(file)!)];
  return `the file ${JSON.stringify(text)}\nours: ${show(ours)}\nlibxlutil: ${show(theirs)}`;
}
