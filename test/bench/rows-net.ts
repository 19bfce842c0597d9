// Frames from one domU to another over a bridge.
import { join } from 'node:path';
import { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';
import { unixSocketMessages } from './yardsticks.ts';

const RUNS = 7;
const MESSAGES = 150_000;
const MS = 500;

export async function netRows({ rig, folder }: BenchHost): Promise<Row[]> {
  const config = `kernel = "${folder}/devices.js"\nvif = ["bridge=bench0"]`;
  const from = await BenchDomain.create(rig, folder, 'sender', config);
  const to = await BenchDomain.create(rig, folder, 'receiver', config);
  const frames = { bare: [] as number[], ours: [] as number[] };
  for (let run = 0; run < RUNS; run++) {
    frames.bare.push(await unixSocketMessages(join(folder, 'bare.sock'), MESSAGES));
    to.start('receive', MS);
    from.start('send', MS + 300);
    frames.ours.push((await to.finish()).perSecond!);
    await from.finish();
  }
  for (const domain of [from, to]) {
    domain.close();
    await rig.xl('destroy', domain.name);
  }
  return [
    {
      name: 'vif 1500-byte frames, domU to domU',
      unit: '/s',
      yardstick: 'net.Socket',
      ...frames,
      goal: { atLeast: 3 },
    },
  ];
}
