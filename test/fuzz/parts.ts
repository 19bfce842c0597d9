// A family of properties that are explored together, each with its share of the cases.
import fc from '../support/properties.ts';

export interface Share {
  readonly property: fc.IRawProperty<unknown>;
  /** Of a hundred cases: the dear ones get fewer. */
  readonly share: number;
}
export type Family = Readonly<Record<string, Share>>;

/** `cases` of one part. Returns what went wrong, with the seed and the smallest case that does. */
export async function explorePart(
  family: Family,
  part: string,
  seed: number,
  cases: number,
): Promise<string | undefined> {
  const { property } = family[part]!;
  const result = await fc.check(property as fc.IAsyncProperty<[unknown]>, { seed, numRuns: cases });
  if (!result.failed) return undefined;
  const { errorInstance: error } = result;
  const why = error instanceof Error ? error.stack : String(error);
  return `${part}: ${await fc.asyncDefaultReportMessage(result)}\n${why}`;
}
/** `cases` of all parts together; `told` hears how many of each, and how long they took. */
export async function exploreFamily(
  family: Family,
  seed: number,
  cases: number,
  told: (part: string, cases: number, ms: number) => void = () => {},
): Promise<string | undefined> {
  for (const [part, { share }] of Object.entries(family)) {
    const wanted = Math.ceil((cases * share) / 100);
    const began = performance.now();
    const failure = await explorePart(family, part, seed, wanted);
    if (failure !== undefined) return failure;
    told(part, wanted, performance.now() - began);
  }
  return undefined;
}
