import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { parseDiskSpec } from '../../../../tools/config/disk-spec.ts';
import { effectiveValues, parseConfig } from '../../../../tools/config/parse.ts';
import { Libxlutil, readAnswer, type XluAnswer } from '../../../support/xlu-config.ts';

const VECTORS = join(import.meta.dirname, '../../../vectors/xl-cfg');

/** Our reading of a file in the shape of libxlutil's answer. */
function answer(content: Uint8Array): XluAnswer {
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

const plain = (a: XluAnswer): unknown => {
  const { rc, assignments, effective, disks, report } = a;
  const order = (x: { line: number; op: string; name: string; value: unknown }) => [x.line, x.op, x.name, x.value];
  return { rc, assignments: assignments.map(order), effective, disks, report };
};

describe('xl.cfg, against answers of the real parser', () => {
  const names = readdirSync(VECTORS).filter(name => name.endsWith('.cfg'));
  it('has all 55 of them', () => {
    expect(names).toHaveLength(55);
  });
  it.each(names)('%s', name => {
    const expected = readAnswer(readFileSync(join(VECTORS, `edge-${name}.json`), 'utf8'));
    expect(plain(answer(readFileSync(join(VECTORS, name))))).toEqual(plain({ ...expected }));
  });
});

const real = Libxlutil.build();
afterAll(() => {
  if (typeof real !== 'string') real.remove();
});

describe.skipIf(typeof real === 'string')(
  `xl.cfg, against libxlutil itself${typeof real === 'string' ? ` (skipped: ${real})` : ''}`,
  () => {
    const lib = real as Libxlutil; // skipped otherwise
    const pieces = (...atoms: string[]) => fc.constantFrom(...atoms);
    const atom = pieces(
      ...['a', 'b.c', 'name', '=', '=', '=', '+=', '1', '0x1f', '"x"', "'y'", '"q\\q"', '"\\101"', '"\\n\\""', '['],
      ...[']', ',', ';', '\n', '\n', ' ', '\t', '@', '-', '# c\n', '#', 'A', 'é', '\r\n', '"', '[1,2]', 'a=1\n'],
      ...['b=[1]\n', 'b+=[2]', 'a+="z"', '(', '\\', '\f', '[["x"],\n 1 , ]', '\0'],
    );

    it('any sequence of tokens and rubbish is read and reported alike', () => {
      fc.assert(
        fc.property(fc.array(atom, { minLength: 1, maxLength: 14 }), atoms => {
          const file = Buffer.from(atoms.join(''));
          const theirs = lib.ask(file);
          if (theirs !== null) expect(plain(answer(file))).toEqual(plain(theirs));
        }),
        { numRuns: 200 },
      );
    });

    const diskAtom = pieces(
      ...[
        'raw',
        'qcow2',
        'qed',
        'empty',
        'xvda',
        'sdb1',
        'r',
        'w',
        'rw',
        '',
        ' ',
        '/x',
        'cdrom',
        'disk',
        ':cdrom',
        ':',
      ],
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

    it('any disk specification is read and reported alike', () => {
      fc.assert(
        fc.property(fc.array(spec, { minLength: 1, maxLength: 20 }), specs => {
          const file = Buffer.from(`disk=[${specs.map(s => `"${s}"`).join(',')}]\n`);
          const theirs = lib.ask(file);
          expect(theirs).not.toBeNull();
          expect(plain(answer(file))).toEqual(plain(theirs!));
        }),
        { numRuns: 60 },
      );
    });
  },
);
