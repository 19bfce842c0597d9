// What a process printed last of why it ends: V8, which ends it by a signal, says so there and nowhere else.

/** V8 and Node print a stack behind it, in which names of functions speak of errors too. */
const OF_A_STACK = /^\s*(?:\d+: |at )/;
const IS_WHY = /fatal|error|check failed/i;

export class LastWords {
  /** undefined: it has printed nothing. untrusted: a domain's process may have printed it. */
  text: string | undefined;
  #isWhy = false;

  hear(line: string): void {
    const isWhy = IS_WHY.test(line) && !OF_A_STACK.test(line);
    if (line.trim() === '' || (this.#isWhy && !isWhy)) return;
    this.text = line;
    this.#isWhy = isWhy;
  }
}
