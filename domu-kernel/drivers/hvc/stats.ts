// Counters of the console; nothing else writes them.

export class HvcStats {
  bytesOut = 0;
  bytesIn = 0;
  /** Output dropped because nobody read the console for too long. */
  bytesLost = 0;
  /** Typed bytes dropped because the program did not read them. */
  inputLost = 0;
}
