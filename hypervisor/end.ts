// How a domain's process has ended.

export interface End {
  readonly crash?: string;
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** What it has printed of it. */
  readonly printed?: string | undefined;
}

/** In one line. What it printed before somebody killed it says nothing of that. */
export function howEnded({ crash, code, signal, printed }: End): string {
  if (crash !== undefined) return crash;
  const how = signal ?? `exit code ${code}`;
  return printed === undefined || signal === 'SIGKILL' ? how : `${how}, and had printed: ${printed}`;
}
