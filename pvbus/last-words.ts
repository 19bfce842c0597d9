// What a process printed last of why it ends. V8, which ends it by a signal, says so there and nowhere else; Node ends what it
// says of an error that nobody has caught with its stack, its fields and the version of Node.

/** V8 and Node print a stack behind it, in which names of functions speak of errors too; so do files that asked for a module. */
const OF_A_STACK = /^\s*(?:\d+: |at )|^- /;
const VERSION = /^Node\.js v\d/;
const IS_WHY = /fatal|error|check failed/i;
/** Fields of an error are printed so, its cause among them. */
const INDENTED = /^\s/;

export class LastWords {
  /** undefined: it has printed nothing. untrusted: a domain's process may have printed it. */
  text: string | undefined;
  #isWhy = false;

  hear(line: string): void {
    if (line.trim() === '' || VERSION.test(line)) return;
    const isOfStack = OF_A_STACK.test(line);
    if (isOfStack && this.text !== undefined) return;
    const isWhy = IS_WHY.test(line) && !isOfStack;
    if (this.#isWhy && (!isWhy || INDENTED.test(line))) return;
    this.text = line;
    this.#isWhy = isWhy;
  }
}

/** Of all that it has printed. */
export function lastWordsOf(printed: string): string | undefined {
  const words = new LastWords();
  for (const line of printed.split('\n')) words.hear(line);
  return words.text;
}
