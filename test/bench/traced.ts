// A host that is traced for a while, by this process instead of xl.
import { runPaths, TRC_ALL, type TraceEvent } from '#pvbus';
import { ToolstackClient } from '../../tools/toolstack-client.ts';
import { Merge } from '../../tools/trace/merge.ts';
import type { TraceRecord } from '../../tools/trace/records.ts';
import type { HostRig } from '../support/host-rig.ts';

/** Beside the result of `body`: the trace of what happened meanwhile, as it came. */
export async function traced<T>(
  rig: HostRig,
  body: () => Promise<T>,
  mask = TRC_ALL,
): Promise<{ result: T; trace: Trace }> {
  const client = await ToolstackClient.connect(runPaths(rig.runDir).toolstackSocket);
  try {
    const events: TraceEvent[] = [];
    const { since } = await client.call('trace', { events: mask }, event => {
      if (event.event === 'trace') events.push(event);
    });
    const result = await body();
    // The round after next brings the last of it.
    await new Promise(resolve => setTimeout(resolve, 250));
    return { result, trace: new Trace(since, events) };
  } finally {
    client.close();
  }
}

export class Trace {
  readonly records: readonly TraceRecord[];
  readonly lost: number;
  readonly untold: number;

  constructor(since: number, events: readonly TraceEvent[]) {
    const merge = new Merge(since);
    this.records = [...events.flatMap(event => merge.add(event)), ...merge.rest()];
    this.lost = merge.lost;
    this.untold = merge.untold;
  }
}
