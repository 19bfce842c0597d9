// Descriptors of the memory that tests make. Rigs are left to the collector, which closes none, and one process runs two hundred
// files: without this it has thousands, where many machines allow 1,024.
import { Arena } from '#pvbus';

const made: Arena[] = [];
let noting = false;

/** From here on. */
export function noteArenas(): void {
  if (noting) return;
  noting = true;
  const { createUnseen, adoptUnseen } = Arena; // the only two ways
  const noted = (arena: Arena): Arena => {
    made.push(arena);
    return arena;
  };
  Arena.createUnseen = (...args) => noted(createUnseen.apply(Arena, args));
  Arena.adoptUnseen = (...args) => noted(adoptUnseen.apply(Arena, args));
}
/** So many have been noted and are not closed. */
export const notedArenas = (): number => made.length;
/** All but the first `kept` have no descriptor any more. They stay memory, which cannot be handed on. */
export function closeArenas(kept = 0): void {
  for (const arena of made.splice(kept)) arena.closeFile();
}
