// What the toolstack asks of a driver domain, by a number in a node of the domain's, and what it answers: that it has
// acted on all it had been told before, with its devices' counters in their nodes. Ours; Xen's toolstack sees neither.
import { type DeviceCounters, type Log, parseDecimal, Reconciler, readKey, type XenstoreClient } from '#pvbus';
import type { Backend } from '../backends/backend-device.ts';

export interface QuestionParts {
  readonly xs: XenstoreClient;
  readonly home: string;
  readonly log: Log;
  readonly backends: { readonly vbds: Backend; readonly vifs: Backend };
  readonly counters: () => Promise<DeviceCounters[]>;
}

export async function answerQuestions({ xs, home, log, backends, counters }: QuestionParts): Promise<void> {
  const { vbds, vifs } = backends;
  const asked = `${home}/data/asked`;
  const answer = async (): Promise<void> => {
    const number = parseDecimal(await readKey(xs, asked));
    if (number === undefined) return;
    await Promise.all([vbds.settled(), vifs.settled()]);
    const published: Promise<void>[] = [];
    for (const { domid, vbds: disks, vifs: nets } of await counters()) {
      for (const { devid, ...of } of disks) published.push(publish(vbds.find(domid, devid), of));
      for (const { devid, ...of } of nets) published.push(publish(vifs.find(domid, devid), of));
    }
    await Promise.all(published);
    await xs.write(`${home}/data/answered`, String(number));
  };
  const answering = new Reconciler(answer, error =>
    log.warn(`the toolstack's question: ${error instanceof Error ? error.message : error}`),
  );
  await xs.watch(asked, 'questions', () => answering.poke());
}

/** One that is being unplugged needs none. */
async function publish(device: ReturnType<Backend['find']>, counters: Readonly<Record<string, number>>): Promise<void> {
  await device?.publish({ statistics: Object.values(counters).join(' ') }).catch(() => {});
}
