// Whose a line of the host's log is: said by who owns the log, whatever a process says of itself.

export interface NamedLine {
  readonly who: string;
  readonly text: string;
}

/** As streamLog writes it: the time, who, and one word more if it is one of its threads. */
const OWN = /^\S+ ([a-z0-9-]+)( [a-z0-9-]{1,32})?: (.*)$/;

/** untrusted: `line`, of a process that is known by `name`. It may say which thread of its says that, and not the time. */
export function namedLine(name: string, line: string): NamedLine {
  const [, who, thread = '', text] = OWN.exec(line) ?? [];
  return who === name ? { who: name + thread, text: text! } : { who: name, text: line };
}
