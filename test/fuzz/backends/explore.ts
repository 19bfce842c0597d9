// Every backend against arbitrary frontends.
import type { Family } from '../parts.ts';
import { consolePage, diskRing, interfaceRings } from './rings.ts';

export const BACKENDS: Family = {
  'ring of a vbd': { property: diskRing, share: 40 },
  'rings of a vif': { property: interfaceRings, share: 20 },
  'page of a console': { property: consolePage, share: 40 },
};
