// What the one who watches over a domain writes into its log, as it comes.

import { setTimeout as sleep } from 'node:timers/promises';
import { ERROR_FAIL } from '#pvbus';
import { LogReader } from './log-reader.ts';
import type { ToolstackClient } from './toolstack-client.ts';

const POLL_MS = 100;
/** The last line of a monitor: it has done what there was to do, somebody else did it, or it could not. */
const LAST = /^(Done\. Exiting now$|Domain \d+ has been destroyed\.$|libxl: error: )/;

/** Resolves with xl's exit code once nobody watches over the domain any more; rejects when the host goes. */
export async function followMonitor(
  path: string,
  client: ToolstackClient,
  print: (line: string) => void,
): Promise<number> {
  const reader = LogReader.open(path);
  if (reader === undefined) return 0; // the disk was full when the log was begun
  const gone = new Promise<never>((_, reject) => client.onClose(reject));
  try {
    for (;;) {
      for (const line of reader.read(false)) {
        print(line);
        const [, last] = LAST.exec(line) ?? [];
        if (last !== undefined) return last.startsWith('libxl') ? -ERROR_FAIL : 0;
      }
      await Promise.race([sleep(POLL_MS), gone]);
    }
  } finally {
    reader.close();
  }
}
