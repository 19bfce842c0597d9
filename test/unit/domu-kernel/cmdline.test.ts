import { expect, it } from 'vitest';
import { isOn, parseCmdline } from '../../../domu-kernel/cmdline.ts';

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

it('reads booleans as Linux does', () => {
  const args = parseCmdline('bare one=1 yes=Y on=on zero=0 no=n off=off empty=');
  const on = Object.keys(args).filter(name => isOn(args[name]));
  expect(on).toEqual(['bare', 'one', 'yes', 'on']);
  expect(isOn(args.absent)).toBe(false);
});
