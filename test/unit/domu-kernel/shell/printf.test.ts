import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { printf } from '../../../../domu-kernel/shell/printf.ts';
import { whyNoDash } from '../../../support/beside-dash.ts';
import fc from '../../../support/properties.ts';

const text = (format: string, ...args: string[]): string => Buffer.from(printf(format, args).bytes).toString();

describe('printf', () => {
  it('writes bytes, whatever text they are or are not', () => {
    expect([...printf('\\377\\200\\0|%b', ['\\0376\\c\\0377']).bytes]).toEqual([255, 128, 0, 124, 254]);
    expect(text('%s|%4s', 'é', 'é')).toBe('é|  é');
  });

  it('fills numbers with zeros, also those of letters alone, and nothing that is none', () => {
    expect(text('%04x|%04X|%04.1x|%06.1f|%06f', '10', '171', '10', '2', 'inf')).toBe('000a|00AB|   a|0002.0|   inf');
  });

  it('rounds halves to even, of whatever size', () => {
    expect(text('%.0f %.0f %.1f %.1f', '0.5', '1.5', '2.25', '2.35')).toBe('0 2 2.2 2.4');
    expect(text('%.0f %g %.3e', '1e23', '1e-5', '5e-324')).toBe('99999999999999991611392 1e-05 4.941e-324');
  });

  it.skipIf(whyNoDash !== undefined)(
    `says what dash's says, of any format${whyNoDash ? ` (${whyNoDash})` : ''}`,
    () => {
      const format = fc
        .tuple(
          fc.constantFrom('', '-', '0', '+', ' ', '#', '0+', '- '),
          fc.constantFrom('', '1', '6', '*'),
          fc.constantFrom('', '.', '.0', '.3', '.*'),
          fc.constantFrom(...'sbcdiuoxXfeg'),
        )
        .map(parts => `%${parts.join('')}`);
      const word = fc.constantFrom(
        '',
        '0',
        '7',
        '-42',
        '010',
        '0x1f',
        "'A",
        'abc',
        '12x',
        ' 5',
        '99999999999999999999',
        '1.5',
        'a\\tb',
        '3',
      );
      fc.assert(
        fc.property(
          fc.array(format, { minLength: 1, maxLength: 3 }),
          fc.array(word, { maxLength: 5 }),
          (formats, args) => {
            const text = `${formats.join('|')}\\n`;
            // Widths have a limit here.
            fc.pre(!(text.includes('*') && args.includes('99999999999999999999')));
            const beside = spawnSync('/bin/dash', ['-c', 'printf "$@"', 'sh', text, ...args], {
              env: { LC_ALL: 'C.UTF-8' },
            });
            const { bytes, complaints } = printf(text, args);
            expect([Buffer.from(bytes).toString('latin1'), complaints.length > 0 ? 1 : 0]).toEqual([
              beside.stdout.toString('latin1'),
              beside.status,
            ]);
          },
        ),
        { numRuns: 100 },
      );
    },
  );
});
