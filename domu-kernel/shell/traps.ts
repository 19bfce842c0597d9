// What a shell does at signals, and at its end.
import type { SignalName } from '../process/signals.ts';

export type TrapName = SignalName | 'EXIT';

export class Traps {
  /** What runs; '' ignores a signal. */
  readonly actions = new Map<TrapName, string>();
  /** Ignored before the shell was there, and for good. */
  readonly #lasting: ReadonlySet<SignalName>;
  readonly #heard: SignalName[] = [];

  constructor(lasting: ReadonlySet<SignalName>) {
    this.#lasting = lasting;
  }
  /** As a subshell begins: it ignores what its shell ignores. `ignored`: by its process. */
  forSubshell(ignored: ReadonlySet<SignalName>): Traps {
    const kept = [...this.actions].filter(([, action]) => action === '');
    const traps = new Traps(new Set([...ignored].filter(name => this.actions.get(name) !== '')));
    for (const [name, action] of kept) traps.actions.set(name, action);
    return traps;
  }
  get ignored(): ReadonlySet<SignalName> {
    const ignored = new Set(this.#lasting);
    for (const [name, action] of this.actions) if (action === '' && name !== 'EXIT') ignored.add(name);
    return ignored;
  }
  /** Something is to run, at a signal or at the end. */
  get any(): boolean {
    return [...this.actions.values()].some(action => action !== '');
  }
  /** Whether that is to run something. */
  hears(signal: SignalName): boolean {
    const hears = Boolean(this.actions.get(signal)) && !this.#lasting.has(signal);
    // As often as it comes before that is looked at, it has come once.
    if (hears && !this.#heard.includes(signal)) this.#heard.push(signal);
    return hears;
  }
  /** The first that has come, and has not been acted upon. */
  get heard(): SignalName | undefined {
    return this.#heard[0];
  }
  /** What is to run for it. */
  next(): string | undefined {
    const signal = this.#heard.shift();
    return signal && (this.actions.get(signal) ?? '');
  }
  /** What is to run at the end; it does once. */
  last(): string | undefined {
    const action = this.actions.get('EXIT');
    this.actions.delete('EXIT');
    return action;
  }
}
