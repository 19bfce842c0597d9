// The guest's TCP: `npm run fuzz -- --only tcp --cases 20000` makes 10,000 transfers, half of them over IPv6.
import type { Family } from '../parts.ts';
import { segments } from './segments.ts';
import { transfers } from './transfers.ts';

export const TCP: Family = {
  'transfers over a wire that loses, doubles and delays 5 %': { property: transfers, share: 50 },
  'segments of any kind to connections in any state': { property: segments, share: 50 },
};
