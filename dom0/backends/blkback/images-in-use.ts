// Which images are in use, so that no two write to one file unasked.
import { XenError } from '#pvbus';

interface User {
  readonly label: string;
  readonly writer: boolean;
  /** The administrator said so, `w!`. */
  readonly shared: boolean;
}

export class ImagesInUse {
  readonly #users = new Map<string, User[]>();

  /** Throws EBUSY. `file` is the same for two paths of one file. Returns how to end the use. */
  claim(file: string, label: string, writer: boolean, shared: boolean): () => void {
    const other = this.#of(file).find(user => (user.writer || writer) && !user.shared && !shared);
    if (other) throw new XenError('EBUSY', `${label}: its image is in use by ${other.label}`);
    return this.#add(file, { label, writer, shared });
  }
  /** For tools of the host, by `xl block-export`. Who writes is alone in that, and readers are in nobody's way. */
  lend(file: string, label: string, writer: boolean): () => void {
    const other = writer && this.#of(file).find(user => user.writer);
    if (other) throw new XenError('EBUSY', `${label}: its image is written by ${other.label}`);
    return this.#add(file, { label: `an export of ${label}`, writer, shared: !writer });
  }

  #of(file: string): readonly User[] {
    return this.#users.get(file) ?? [];
  }
  #add(file: string, user: User): () => void {
    this.#users.set(file, [...this.#of(file), user]);
    return () => {
      const left = this.#of(file).filter(u => u !== user);
      if (left.length > 0) this.#users.set(file, left);
      else this.#users.delete(file);
    };
  }
}
