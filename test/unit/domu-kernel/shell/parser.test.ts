import { describe, expect, it } from 'vitest';
import { parse } from '../../../../domu-kernel/shell/parser.ts';
import { IncompleteInput, ShellError, type Word } from '../../../../domu-kernel/shell/syntax.ts';
import fc from '../../../support/properties.ts';

const plain = (word: Word): string => word.map(part => (part.kind === 'text' ? part.text : `<${part.kind}>`)).join('');
/** Of a text that is one simple command. */
function words(text: string): string[] {
  const command = parse(text)[0]!.first.commands[0]!;
  if (command.kind !== 'simple') throw new Error(`${command.kind}`);
  return command.words.map(plain);
}

describe('the parser', () => {
  it('takes quotes away and keeps what they keep together', () => {
    expect(words(`echo 'a  b'"c $ d"\\ e\\\n f`)).toEqual(['echo', 'a  bc $ d e', 'f']);
    expect(words(`echo "" ''`)).toEqual(['echo', '', '']);
    expect(words(`echo "\\a\\"\\$x"`)).toEqual(['echo', '\\a"$x']);
  });

  it('reads lists, pipelines, operators and what goes to the background', () => {
    const [first, second, third] = parse('a | b && ! c || d & e; f');
    expect(first!.background).toBe(true);
    expect(first!.text).toBe('a | b && ! c || d');
    expect(first!.first.commands.length).toBe(2);
    expect(first!.rest.map(([operator, { negated }]) => [operator, negated])).toEqual([
      ['&&', true],
      ['||', false],
    ]);
    expect([second!.text, third!.text]).toEqual(['e', 'f']);
  });

  it('reads assignments before a command, and not after it', () => {
    const command = parse('A=1 B="x y" cmd C=2')[0]!.first.commands[0]!;
    if (command.kind !== 'simple') throw new Error();
    expect(command.assignments.map(([name, value]) => [name, plain(value)])).toEqual([
      ['A', '1'],
      ['B', 'x y'],
    ]);
    expect(command.words.map(plain)).toEqual(['cmd', 'C=2']);
  });

  it('reads redirections wherever they stand', () => {
    const command = parse('<in cmd 2>&1 >> out a2 > x')[0]!.first.commands[0]!;
    if (command.kind !== 'simple') throw new Error();
    expect(command.words.map(plain)).toEqual(['cmd', 'a2']);
    expect(command.redirections.map(({ fd, kind, target }) => [fd, kind, plain(target)])).toEqual([
      [0, '<', 'in'],
      [2, '&', '1'],
      [1, '>>', 'out'],
      [1, '>', 'x'],
    ]);
  });

  it('reads compound commands in one another, on one line or several', () => {
    const text = 'if a; then\n  while b; do for x in 1 2; do { c; }; done; done\nelif d; then (e) > f; else g; fi';
    const command = parse(text)[0]!.first.commands[0]!;
    if (command.kind !== 'if') throw new Error();
    expect(command.branches.length).toBe(2);
    expect(command.branches[0]![1][0]!.first.commands[0]!.kind).toBe('while');
    expect(command.branches[1]![1][0]!.first.commands[0]).toMatchObject({
      kind: 'subshell',
      redirections: [{ fd: 1 }],
    });
    expect(parse('for a do b; done')[0]!.first.commands[0]).not.toHaveProperty('words');
  });

  it('reads a reserved word as a word where it is none', () => {
    expect(words('echo if then fi {')).toEqual(['echo', 'if', 'then', 'fi', '{']);
    expect(words('iffy')).toEqual(['iffy']);
  });

  it('reads expansions', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
    expect(words('a$b"${c:-d e}"$(f "$(g)")$((1 + (2)))$ $1')).toEqual([
      'a<variable><variable><command><arithmetic>$',
      '<variable>',
    ]);
  });

  it('reads functions, and here-documents from the lines behind them', () => {
    const [declared, called] = parse('f() { a; } > x\nf <<A; b <<-"B"\n$x\nA\n\t$y\n\tB\n');
    expect(declared!.first.commands[0]).toMatchObject({
      kind: 'function',
      name: 'f',
      body: { redirections: [{ fd: 1 }] },
    });
    const command = called!.first.commands[0]!;
    expect(command.redirections.map(({ fd, kind, target }) => [fd, kind, plain(target)])).toEqual([
      [0, '<<', '<variable>\n'],
    ]);
    expect(() => parse('cat <<E\na', true)).toThrow(IncompleteInput);
    expect(plain(parse('cat <<E\na')[0]!.first.commands[0]!.redirections[0]!.target)).toBe('a');
    expect(() => parse('cat <<$x\n')).toThrow(/plain word/);
  });

  it('takes comments for nothing', () => {
    expect(parse('# all of it\n')).toEqual([]);
    expect(words('echo a#b # c')).toEqual(['echo', 'a#b']);
  });

  it.each([
    'echo "a',
    "echo 'a",
    'a |',
    'a &&',
    'if a; then b',
    'while a',
    '(a',
    'echo $(a',
    'a \\',
    'for x in 1',
    '{ a',
    'echo `a',
    'f()',
    'f() {',
    'case a',
    'case a in b) c',
    'case a in b) c;;',
    'echo "${a-',
  ])('wants more of %s', text => {
    expect(() => parse(text)).toThrow(IncompleteInput);
  });

  it.each([
    ')',
    'a ;; b',
    '| a',
    '&& a',
    'if; then',
    'a > ; b',
    'fi',
    '( )) ',
    'f() a',
    'case a b',
    'a() (b) c',
    '; ;',
    'for 1 in',
  ])('refuses %s', text => {
    expect(() => parse(text)).toThrow(ShellError);
    expect(() => parse(text)).not.toThrow(IncompleteInput);
  });

  it('refuses what is nested too deep', () => {
    expect(() => parse('('.repeat(5000))).toThrow(/in one another/);
    expect(() => parse('$('.repeat(5000))).toThrow(/in one another/);
    expect(() => parse('${a:-'.repeat(5000))).toThrow(/in one another/);
  });

  it('ends with syntax or a shell error, whatever the text', () => {
    const pieces = [
      'if',
      'then',
      'fi',
      'while',
      'do',
      'done',
      'for',
      'in',
      '{',
      '}',
      '!',
      '(',
      ')',
      '$(',
      '$((',
      '${',
      ':-',
      ...['case', 'esac', ';;', 'f()', '<<E', '<<-E', 'E', '##', ':='],
      ...'\'"\\$&|;<>\n \t#=`a12',
    ];
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map(a => a.join(' ')),
      fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map(a => a.join('')),
    );
    fc.assert(
      fc.property(text, input => {
        try {
          parse(input);
        } catch (error) {
          if (!(error instanceof ShellError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});
