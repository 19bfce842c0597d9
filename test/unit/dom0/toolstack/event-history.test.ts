// What is remembered of what happened, in the toolstack and in its file.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { EVENT_HISTORY, type FaultEvent, type HostEvent } from '#pvbus';
import { EventFile } from '../../../../dom0/toolstack/event-file.ts';
import { EventHistory } from '../../../../dom0/toolstack/event-history.ts';
import { Ledger } from '../../../../dom0/toolstack/ledger.ts';
import { encodeFrame } from '../../../../pvbus/toolstack-frames.ts';
import { MemoryDisk } from '../../../support/memory-journal.ts';
import { removeScratchFolders, ScratchFolder } from '../../../support/scratch-folder.ts';
import { ListLog } from '../../../support/xenstore-rig.ts';

afterAll(removeScratchFolders);

const fault = (what: FaultEvent['what'], text: string): FaultEvent => ({
  ...{ event: 'fault', at: 1, what, plan: 'p', fault: 'f', seed: 7 },
  ...{ occurrences: [], count: 1, total: 1, domid: 1, text },
});
function all(history: EventHistory): HostEvent[] {
  const events: HostEvent[] = [];
  for (let from: number | null = 0; from !== null; ) {
    const page = history.page(from);
    expect(encodeFrame({ id: 1, result: page }).length).toBeLessThan(1 << 20);
    events.push(...page.events);
    from = page.next;
  }
  return events;
}

it('a disk that fails without end pushes out neither its beginning nor what else the host did', () => {
  const history = new EventHistory(Ledger.begin(new MemoryDisk(), new ListLog()));
  history.add(fault('began', 'the fault'));
  history.add(fault('reaction', 'a guest was restarted'));
  const occurrences = Array.from({ length: 200 }, (_, i) => 2 ** 31 + i);
  for (let n = 0; n < 3 * EVENT_HISTORY; n++)
    history.add({ ...fault('injected', '界'.repeat(1024)), occurrences, total: n });
  const known = all(history);
  expect(known.slice(0, 2).map(event => (event as FaultEvent).text)).toEqual(['the fault', 'a guest was restarted']);
  expect(known.length).toBe(EVENT_HISTORY + 2);
  expect((known.at(-1) as FaultEvent).total).toBe(3 * EVENT_HISTORY - 1);
});

it('the file has them as xl prints them, and two files of a size hold the last', () => {
  const path = join(new ScratchFolder().path, 'events.jsonl');
  writeFileSync(path, '{"of":"the host before"}\n');
  const file = new EventFile(path, new ListLog(), 1000);
  for (let n = 0; n < 100; n++) file.add({ ...fault('reaction', 'again'), total: n });
  file.close();
  const [last, before] = [readFileSync(path, 'utf8'), readFileSync(`${path}.1`, 'utf8')];
  expect(last.length).toBeLessThanOrEqual(1000);
  expect(before.length).toBeLessThanOrEqual(1000);
  const totals = `${before}${last}`
    .trim()
    .split('\n')
    .map(line => JSON.parse(line).total);
  expect(totals).toEqual(Array.from({ length: totals.length }, (_, i) => 100 - totals.length + i));
  expect(JSON.parse(last.split('\n')[0]!)).toMatchObject({ event: 'reaction', plan: 'p', fault: 'f', text: 'again' });
});

it('a file that cannot be written is said once', () => {
  const log = new ListLog();
  const file = new EventFile('/nonexistent/events.jsonl', log);
  for (let n = 0; n < 3; n++) file.add(fault('reaction', 'x'));
  expect(log.lines.length).toBe(1);
});

it('of a line that has no room nothing is there, and the next one is whole', () => {
  const path = join(new ScratchFolder().path, 'events.jsonl');
  const log = new ListLog();
  const file = new EventFile(path, log);
  file.add(fault('reaction', 'first'));
  limitFiles(String(statSync(path).size + 10));
  try {
    file.add(fault('reaction', 'lost'));
  } finally {
    limitFiles('unlimited');
  }
  file.add(fault('reaction', 'next'));
  file.close();
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  expect(lines.map(line => JSON.parse(line).text)).toEqual(['first', 'next']);
  expect(log.lines.length).toBe(1);
});
/** What a file of this process may have, as a disk that is full. */
function limitFiles(bytes: string): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`]);
}
