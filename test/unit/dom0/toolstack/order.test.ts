import { describe, expect, it } from 'vitest';
import { Order, type Place } from '../../../../dom0/toolstack/order.ts';

/** Everything that promises can do by themselves has happened. */
const settled = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

describe('an order', () => {
  const queue = (order: Order, turns: string[], name: string): Place => {
    const place = order.take();
    void place.turn.then(() => turns.push(name));
    return place;
  };

  it('gives each place its turn when all before it have left, in whatever order these leave', async () => {
    const order = new Order();
    const turns: string[] = [];
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(name => queue(order, turns, name)) as [Place, Place, Place, Place];
    await settled();
    expect(turns).toEqual(['a']);
    b.leave();
    c.leave();
    await settled();
    expect(turns).toEqual(['a']);
    a.leave();
    await settled();
    expect(turns).toEqual(['a', 'b', 'c', 'd']);
    d.leave();
    d.leave();
    queue(order, turns, 'e');
    await settled();
    expect(turns.at(-1)).toBe('e');
  });
});
