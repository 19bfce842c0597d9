import { expect, it } from 'vitest';
import { domid, type Fault, triggerOf } from '#pvbus';
import { EventFaults } from '../../../../dom0/xenstored/event-faults.ts';

it('an event that waits to be overtaken is not for the next domain of its number', () => {
  const fault: Fault = { name: 'f', part: 'event', nth: [1], reorder: true };
  const trigger = triggerOf({ plan: 'p', seed: 1, startedNs: 0, fault });
  const clock = { now: () => 0, wallMs: () => 0 };
  const befallsEvent = (): typeof trigger | undefined => (trigger.decide(clock.now()) ? trigger : undefined);
  const events = new EventFaults({ clock, faults: { befallsEvent }, portOf: () => 9 });
  const happened: string[] = [];
  const of = (which: string): void => events.pass('send', domid(5), () => void happened.push(which));
  of('the one that is gone');
  events.forget(domid(5));
  of('the next');
  expect(happened).toEqual(['the next']);
});
