// The hundred transfers between our stack and Linux's, for `npm run fuzz`.
import { seeded } from '../support/random.ts';
import { TapLink, whyNoTap } from '../support/tap.ts';
import { FAULTS, ip6Address, LinuxPeer, transfers } from './transfers.ts';

const COUNT = 100;

/** Returns what went wrong. */
export async function fuzzLinux(seed: number): Promise<string | undefined> {
  const why = whyNoTap();
  if (why !== undefined) {
    console.log(`fuzz: no transfers with Linux's stack: ${why}`);
    return undefined;
  }
  const began = performance.now();
  const random = seeded(seed);
  const tap = new TapLink(random);
  const ip6 = await ip6Address(tap);
  const addresses: [string, string][] = [[tap.linux, tap.ours]];
  if (ip6 !== undefined) addresses.push([tap.linux6, ip6]);
  tap.faults = FAULTS;
  const peer = await LinuxPeer.start(tap);
  try {
    const wrong = await transfers(tap, peer, COUNT, random, 10, addresses);
    if (wrong.length > 0) return `linux, seed ${seed}: ${wrong.join('\n')}`;
  } finally {
    await peer.stop();
    tap.close();
  }
  const { lost, doubled, late } = tap.stats;
  const took = ((performance.now() - began) / 1000).toFixed(0);
  console.log(
    `fuzz: ${COUNT} transfers with Linux's stack${ip6 === undefined ? '' : ', half of them over IPv6'}, frames lost ${lost}, doubled ${doubled}, late ${late}: no byte wrong, ${took} s`,
  );
  return undefined;
}
