import { expect, it } from 'vitest';
import { checkPlan, type HostEvent, systemClock } from '#pvbus';
import { FaultLog } from '../../../../../dom0/toolstack/faults/fault-log.ts';
import { RunningFault } from '../../../../../dom0/toolstack/faults/running-fault.ts';
import { hostEvent } from '../../../../../pvbus/toolstack-history.ts';

it('a driver domain whose words are endless or no text is quoted in an event that every tool can read', () => {
  const told: HostEvent[] = [];
  const log = new FaultLog(systemClock, event => told.push(event));
  const checked = checkPlan([{ part: 'disk', error: 'EIO' }], 'p');
  if (!('plan' in checked)) throw new Error(JSON.stringify(checked.problems));
  const fault = new RunningFault({ plan: 'p', seed: 0, startedNs: 0, fault: checked.plan.faults[0]!, order: 0 });
  log.of(fault, 'injected', `\x1b[2J${'x'.repeat(5000)}`);
  expect(hostEvent(told[0], 'event')).toEqual(told[0]);
  expect(told[0]).toMatchObject({ text: `?[2J${'x'.repeat(1020)}` });
});
