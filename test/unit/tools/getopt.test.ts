import { expect, it } from 'vitest';
import { getopt } from '../../../tools/getopt.ts';

const LONG = [
  { name: 'wait', as: 'w' },
  { name: 'defconfig', as: 'f', value: true },
  { name: 'vncviewer', as: 'V' },
  { name: 'vncviewer-autopass', as: 'A' },
];
const parse = (line: string) => {
  const { found, rest, unsupported } = getopt(line.split(' ').filter(Boolean), 'wf:a', LONG);
  const options = found.map(({ option, value }) => option + (value === '' ? '' : `=${value}`));
  return [options.join(' '), unsupported === undefined ? rest.join(' ') : `? ${unsupported}`];
};

it.each([
  ['-a -w x', 'a w', 'x'],
  ['-aw x -a', 'a w', 'x -a'],
  ['-fname x', 'f=name', 'x'],
  ['-af name x', 'a f=name', 'x'],
  ['--defconfig name x', 'f=name', 'x'],
  ['--def=name x', 'f=name', 'x'],
  ['--vnc x', '', '? vnc'],
  ['--vncviewer', 'V', ''],
  ['--vncviewer-a', 'A', ''],
  ['--wait=1', '', '? wait'],
  ['-- -a', '', '-a'],
  ['- -a', '', '- -a'],
  ['-a -z', 'a', '? z'],
  ['-a: x', 'a', '? :'],
  ['-f', '', '? f'],
  ['x -a', '', 'x -a'],
])('%s', (line, options, rest) => {
  expect(parse(line)).toEqual([options, rest]);
});
