// A name that somebody may have meant by another.

/** The first of `known` that is `name` but for one letter more, less, or other, or for two that changed places. */
export function nearName(name: string, known: Iterable<string>): string | undefined {
  for (const candidate of known) if (distanceIsOne(name, candidate)) return candidate;
  return undefined;
}

function distanceIsOne(a: string, b: string): boolean {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  if (long.length - short.length > 1) return false;
  let same = 0;
  while (same < short.length && short[same] === long[same]) same++;
  if (short.length < long.length) return short.slice(same) === long.slice(same + 1);
  const swapped = short[same] === long[same + 1] && short[same + 1] === long[same];
  return short.slice(same + 1) === long.slice(same + 1) || (swapped && short.slice(same + 2) === long.slice(same + 2));
}
