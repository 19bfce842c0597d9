// Work that waits for answers without promises: it goes on inside the call that brings the answer. A promise's
// jobs run when the thread's event loop gets a turn; a vCPU that waits in a blocking call gives it none.

/** What a routine waits for: calls one of the two, once, at once or later. */
export type Waiting<T> = (done: (value: T) => void, failed: (error: unknown) => void) => void;

/** A generator that yields what it waits for. Others go on with `yield* routine`. */
export type Routine<T> = Generator<Waiting<unknown>, T, unknown>;

export function* wait<T>(waiting: Waiting<T>): Routine<T> {
  // `run` hands back what `waiting` gave to `done`.
  return (yield waiting as Waiting<unknown>) as T;
}

/** For a routine that has to wait for somebody else's promise. */
export const awaited = <T>(promise: Promise<T>): Routine<T> => wait((done, failed) => void promise.then(done, failed));

/** Go as far as possible now, and on with every answer. `done` or `failed` is called once. */
export function run<T>(routine: Routine<T>, done: (value: T) => void, failed: (error: unknown) => void): void {
  let next = (): IteratorResult<Waiting<unknown>, T> => routine.next();
  const go = (): void => {
    for (;;) {
      let at: IteratorResult<Waiting<unknown>, T>;
      try {
        at = next();
      } catch (error) {
        failed(error);
        return;
      }
      if (at.done) {
        done(at.value);
        return;
      }
      // An answer that comes at once makes no deeper call: a routine may wait any number of times.
      let answered = false;
      let returned = false;
      const answer = (how: typeof next): void => {
        next = how;
        answered = true;
        if (returned) go();
      };
      at.value(
        value => answer(() => routine.next(value)),
        error => answer(() => routine.throw(error)),
      );
      returned = true;
      if (!answered) return;
    }
  };
  go();
}

export const promised = <T>(routine: Routine<T>): Promise<T> =>
  new Promise((resolve, reject) => run(routine, resolve, reject));

/** Side by side; the results in their order. The first failure is the whole's, when the others go on unheard. */
export function* all<const R extends readonly Routine<unknown>[]>(
  routines: R,
): Routine<{ -readonly [i in keyof R]: R[i] extends Routine<infer T> ? T : never }> {
  const results: unknown[] = [];
  let left = routines.length;
  if (left > 0) {
    yield* wait<void>((done, failed) => {
      let over = false;
      const fail = (error: unknown): void => {
        if (over) return;
        over = true;
        failed(error);
      };
      routines.forEach((routine, i) => {
        const finish = (value: unknown): void => {
          results[i] = value;
          if (--left > 0 || over) return;
          over = true;
          done();
        };
        run(routine, finish, fail);
      });
    });
  }
  return results as { -readonly [i in keyof R]: R[i] extends Routine<infer T> ? T : never }; // each by its routine
}
