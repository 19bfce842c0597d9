// Arbitrary calls of WASI programs, with arguments of every kind and pointers to anywhere.
import type { Family } from '../parts.ts';
import { anyCalls } from './calls.ts';

export const WASI: Family = {
  'calls with any arguments': { property: anyCalls, share: 100 },
};
