// Around each test: what memory was made in it has no descriptor when it is over; in a file that has made some for all its tests,
// whose rig may have taken that in, when the last one is.
import { afterAll, afterEach, beforeEach } from 'vitest';
import { closeArenas, noteArenas, notedArenas } from './arenas.ts';

noteArenas();
const beforeFile = notedArenas();
let forAll = false;
beforeEach(() => {
  forAll = notedArenas() > beforeFile;
});
afterEach(() => {
  if (!forAll) closeArenas(beforeFile);
});
afterAll(() => closeArenas(beforeFile));
