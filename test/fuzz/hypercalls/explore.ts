// Arbitrary hypercalls on the core, by a guest and by dom0.
import type { Family } from '../parts.ts';
import { byBoth, byGuest } from './traps.ts';

export const HYPERCALLS: Family = {
  "a guest's hypercalls": { property: byGuest, share: 60 },
  "a guest's and dom0's": { property: byBoth, share: 40 },
};
