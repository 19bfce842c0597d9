import { describe, expect, it } from 'vitest';
import { Locks } from '../../../../dom0/toolstack/locks.ts';

describe('locks', () => {
  it('run what has the same key in the order it was asked for, one at a time', async () => {
    const locks = new Locks();
    const seen: string[] = [];
    const body = (name: string) => async () => {
      seen.push(`${name} begins`);
      await new Promise(resolve => setImmediate(resolve));
      seen.push(`${name} ends`);
    };
    await Promise.all([locks.run(1, body('a')), locks.run(1, body('b')), locks.run(1, body('c'))]);
    expect(seen).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  });

  it('let other keys go on meanwhile', async () => {
    const locks = new Locks();
    let open: () => void = () => {};
    const blocked = locks.run(1, () => new Promise<void>(resolve => (open = resolve)));
    expect(await locks.run(2, async () => 'done')).toBe('done');
    open();
    await blocked;
  });

  it('are free again after a failure, which only its own caller hears of', async () => {
    const locks = new Locks();
    const failing = locks.run(1, async () => {
      throw new Error('no');
    });
    const next = locks.run(1, async () => 'next');
    await expect(failing).rejects.toThrow('no');
    expect(await next).toBe('next');
  });
});
