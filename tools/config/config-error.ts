/** A config that cannot be used. One line per entry, as it goes to stderr. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  /** What xl exits with over it. */
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}
