// Numbers for the decisions of a fault plan. Each is a function of the plan's seed, the fault's name and the occurrence
// it is for, and of nothing that was drawn before: a process that comes back in the middle of a plan goes on alike.

/** A whole number below 2^32 for the `k`th thing that is to be decided at occurrence `n`. */
export function draw(seed: number, name: string, n: number, k = 0): number {
  let h = 0x811c9dc5 ^ seed;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return mix(mix(mix(h) ^ Math.imul(n, 0x9e3779b1)) ^ Math.imul(k + 1, 0x85ebca6b));
}

/** The finaliser of MurmurHash3: each bit of the input moves about half of those of the result. */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
