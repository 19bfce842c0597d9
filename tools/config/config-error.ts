/** A config that cannot be used. One line per entry, as it goes to stderr. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  /** What xl exits with over it. */
  readonly exitCode: number;
  /** What is wrong, as far as it is one key; the message says so only where xl's own does. */
  readonly where: Where | null;

  constructor(message: string, exitCode = 1, where: Where | null = null) {
    super(message);
    this.exitCode = exitCode;
    this.where = where;
  }
}

export interface Where {
  /** File and line; the file alone for a key that is missing. */
  readonly at: string;
  /** The key, and which of its entries. */
  readonly keys: readonly [key: string, ...entry: number[]];
}
