// Random conversations with our daemon and one of Xen's at once. Every answer, every event and at the end every node
// must be the same but for what docs/xenstore.md explains; a failure prints the conversation, made as short as it
// goes. XENOLITH_CONVERSATIONS sets how many there are, XENOLITH_SEED where they begin.

import { expect, test } from 'vitest';
import { seeded, seedOfThisRun } from '../support/random.ts';
import { whyNot } from '../support/real-xenstored.ts';
import type { Which } from '../support/transcript.ts';
import { OP_ERRORS } from '../transcripts/op-errors.ts';
import { skipped } from './daemons.ts';
import { type Profile, randomConversation } from './random-requests.ts';
import { SideBySide } from './side-by-side.ts';

const CONVERSATIONS = Number(process.env.XENOLITH_CONVERSATIONS ?? 40);
const LENGTH = 60;
const SEED = seedOfThisRun();

const profiles: Readonly<Record<Which, Profile>> = {
  // It can be made to stop by messages that are malformed (stale-error in docs/xenstore.md).
  c: { guestsStayAtHome: false, wellFormed: true },
  // Whose a guest's node is that is not below its own home is another matter there (new-node-owner).
  ocaml: { guestsStayAtHome: true, wellFormed: false },
};

async function converse(which: Which): Promise<void> {
  const both = await SideBySide.start(which);
  try {
    for (let seed = SEED; seed < SEED + CONVERSATIONS; seed++) {
      const wrong = await both.converse(randomConversation(seeded(seed), LENGTH, profiles[which]));
      if (!wrong) continue;
      const { conversation, what } = await both.shrink(wrong);
      const text = conversation.map(said => said.text).join('\n');
      throw new Error(`XENOLITH_SEED=${seed} XENOLITH_CONVERSATIONS=1: ${what}\n${text}`);
    }
    expect(both.damage()).toBeUndefined();
    // Most conversations go on to their ends: what differs does not lead away from each other soon.
    if (CONVERSATIONS >= 40) expect(both.requests).toBeGreaterThan((CONVERSATIONS * LENGTH) / 2);
    for (const [op, answers] of both.answers) {
      const possible = (OP_ERRORS[op] ?? '').split(' ');
      expect({ op, unheardOf: [...answers].filter(answer => !possible.includes(answer)) }).toEqual({
        op,
        unheardOf: [],
      });
    }
    if (CONVERSATIONS > 40) {
      console.log(
        `${which}: ${both.requests} requests; ${[...both.met].map(([name, n]) => `${name} ${n}`).join(', ')}`,
      );
    }
  } finally {
    await both.stop();
  }
}

for (const which of ['c', 'ocaml'] as const) {
  const reason = whyNot(which);
  const title = `random conversations with ${which} are the same, but for what is explained${skipped(reason)}`;
  test.skipIf(reason !== undefined)(title, () => converse(which), 3_600_000);
}
