// Here-documents: what a redirection reads that stands on the lines behind its command.
import { IncompleteInput, type Redirection, type Word } from './syntax.ts';
import { plainWord, WordReader } from './words.ts';

/** A here-document whose lines are yet to come. */
interface Pending {
  readonly end: string;
  readonly quoted: boolean;
  readonly tabs: boolean;
  target: Word;
}

export abstract class HereDocumentReader extends WordReader {
  readonly #more: boolean;
  #pending: Pending[] = [];

  /** `more`: text may follow in which a here-document ends. */
  constructor(text: string, more: boolean, depth = 0) {
    super(text, depth);
    this.#more = more;
  }
  /** A text of its own: no quotes, but expansions. */
  protected abstract innerDocument(text: string): Word;

  protected readLater(fd: number, word: Word, tabs: boolean): Redirection {
    const { text: end, quoted } = plainWord(word);
    const pending: Pending = { end, quoted, tabs, target: [] };
    this.#pending.push(pending);
    return {
      fd,
      kind: '<<',
      get target() {
        return pending.target;
      },
    };
  }
  protected override lineEnded(): void {
    const pending = this.#pending;
    this.#pending = [];
    for (const document of pending) {
      const text = this.#document(document);
      document.target = document.quoted ? [{ kind: 'text', text, quoted: true }] : this.innerDocument(text);
    }
  }
  /** Lines up to that which is the end and nothing else; or all there are. */
  #document({ end, tabs }: Pending): string {
    let text = '';
    while (!this.atEnd()) {
      const newline = this.text.indexOf('\n', this.at);
      const whole = this.text.slice(this.at, newline < 0 ? undefined : newline);
      this.at = newline < 0 ? this.text.length : newline + 1;
      const line = tabs ? whole.replace(/^\t+/, '') : whole;
      if (line === end) return text;
      text += newline < 0 ? line : `${line}\n`;
    }
    if (this.#more) throw new IncompleteInput(`the end comes before ${end}`, end);
    return text;
  }
}
