import { expect, it } from 'vitest';
import { parseCmdline } from '../../../domu-kernel/cmdline.ts';

it('splits words, keeps quoted blanks, and takes the last of several', () => {
  const args = parseCmdline('  root=/dev/xvda ro  greeting="hello world" x=1 x=2 eq=a=b "quoted key"=v =nothing');
  expect({ ...args }).toEqual({
    root: '/dev/xvda',
    ro: true,
    greeting: 'hello world',
    x: '2',
    eq: 'a=b',
    'quoted key': 'v',
  });
  expect({ ...parseCmdline('') }).toEqual({});
  expect(Object.entries(parseCmdline('__proto__=x'))).toEqual([['__proto__', 'x']]);
  expect({ ...parseCmdline('open="no end') }).toEqual({ open: 'no end' });
});
