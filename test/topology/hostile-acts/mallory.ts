// The offender's kernel: frontends, hypercalls and xenstore.
import { deviceActs } from './device-acts.ts';
import { hypercallActs } from './hypercall-acts.ts';
import { type Boot, perform } from './performer.ts';
import { storeActs } from './store-acts.ts';

export const start = (boot: Boot): void =>
  perform(boot, mallory => ({ ...deviceActs(mallory), ...hypercallActs, ...storeActs }));
