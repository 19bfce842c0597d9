import { describe, expect, it } from 'vitest';
import { WaitQueue } from '../../../domu-kernel/wait-queue.ts';

describe('a wait queue', () => {
  it('wakes everybody once, in the order they came', () => {
    const queue = new WaitQueue();
    const woken: string[] = [];
    queue.add(() => woken.push('a'));
    queue.add(() => woken.push('b'));
    queue.wakeAll();
    queue.wakeAll();
    expect(woken).toEqual(['a', 'b']);
    expect(queue.isEmpty).toBe(true);
  });

  it('does not wake who has gone', () => {
    const queue = new WaitQueue();
    const woken: string[] = [];
    const leave = queue.add(() => woken.push('gone'));
    leave();
    queue.wakeAll();
    expect(woken).toEqual([]);
  });

  it('does not wake who goes because of another that was woken before it', () => {
    const queue = new WaitQueue();
    const woken: string[] = [];
    let leave = (): void => {};
    queue.add(() => leave());
    leave = queue.add(() => woken.push('gone'));
    queue.wakeAll();
    expect(woken).toEqual([]);
  });

  it('has who comes while others are woken wait for the next time', () => {
    const queue = new WaitQueue();
    let times = 0;
    const again = (): void => {
      times++;
      queue.add(again);
    };
    queue.add(again);
    queue.wakeAll();
    expect(times).toBe(1);
    queue.wakeAll();
    expect(times).toBe(2);
  });

  it('tells two entries of the same function apart', () => {
    const queue = new WaitQueue();
    let times = 0;
    const wake = (): void => {
      times++;
    };
    const leave = queue.add(wake);
    queue.add(wake);
    leave();
    queue.wakeAll();
    expect(times).toBe(1);
  });
});
