// What a test needs and cannot have on this machine.

/** Nothing is wrong: what a program is made of cannot be had here. */
export class Unavailable extends Error {}

/** The program; the test is skipped, with the reason, where it cannot be had. */
export async function orSkip(test: { skip(why: string): never }, build: () => Promise<string>): Promise<string> {
  return build().catch(error => {
    if (error instanceof Unavailable) test.skip(error.message);
    throw error;
  });
}
