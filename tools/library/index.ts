// The library: what `import ... from 'xenolith'` gives to a program on the host. Its types are in xenolith.d.ts, which
// is written by hand, held to what is here by the last line, and what people may rely on.

import { fileURLToPath } from 'node:url';
import { TOOLSTACK_STEPS, threadFile, XenError } from '#pvbus';
import { inject } from './faults.ts';
import { Host } from './host.ts';
import { baseline, expectInvariant, faultTrace } from './invariants.ts';
import { progress } from './unharmed.ts';
import { withTopology } from './with-topology.ts';
import type * as declared from './xenolith.d.ts';

/** The kernel of guest programs, for the key `kernel`. */
const guestKernel = fileURLToPath(threadFile('domu-kernel', import.meta.url));

const toolstackSteps = TOOLSTACK_STEPS;

export {
  baseline,
  expectInvariant,
  faultTrace,
  guestKernel,
  Host,
  inject,
  progress,
  toolstackSteps,
  withTopology,
  XenError,
};

({}) as typeof import('./index.ts') satisfies typeof declared;
