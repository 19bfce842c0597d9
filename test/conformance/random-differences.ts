export function namedByRandom(): string[] {
  return [];
}
