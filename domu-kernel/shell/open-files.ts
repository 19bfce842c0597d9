// What a shell has open, by number: redirections change a copy of it, `exec` changes it for good.
import { XenError } from '#pvbus';
import { closedFile } from '../process/closed-file.ts';
import { nullFile } from '../process/null-file.ts';
import type { OpenFile } from '../process/open-file.ts';
import { TextFile } from '../process/text-file.ts';
import { attempt, type Waiting } from '../process/transfer.ts';
import type { Stdio } from '../userland.ts';
import { Descriptor, type FdTable } from '../wasi/fd-table.ts';
import { expandText } from './expand.ts';
import { fromCwd } from './paths.ts';
import type { Shell } from './shell.ts';
import type { Redirection } from './syntax.ts';

export class OpenFiles {
  /** A reference each. */
  readonly #files: (OpenFile | undefined)[] = [];

  /** As a process has it, which has it no longer. */
  static takenFrom(fds: FdTable): OpenFiles {
    const files = new OpenFiles();
    for (const [fd, { file }] of fds) files.put(fd, file);
    fds.closeAll();
    return files;
  }
  copy(): OpenFiles {
    const files = new OpenFiles();
    this.#files.forEach((file, fd) => {
      files.put(fd, file);
    });
    return files;
  }
  get(fd: number): OpenFile | undefined {
    return this.#files[fd];
  }
  /** With a reference of its own; undefined closes. */
  put(fd: number, file: OpenFile | undefined): void {
    file?.retain();
    this.#files[fd]?.release();
    this.#files[fd] = file;
  }
  release(): void {
    for (const file of this.#files.splice(0)) file?.release();
  }
  /** For a process that is to have them as well. */
  get all(): readonly (OpenFile | undefined)[] {
    return this.#files;
  }
  get stdio(): Stdio {
    const [stdin = closedFile, stdout = closedFile, stderr = closedFile] = this.#files;
    return [stdin, stdout, stderr];
  }
  /** A process has them in the place of all it had. */
  giveTo(fds: FdTable): void {
    fds.closeAll();
    this.#files.forEach((file, fd) => {
      if (!file) return;
      file.retain();
      fds.set(fd, new Descriptor(file));
    });
    this.release();
  }
  /** For a job that nobody sees read. */
  withoutInput(): this {
    this.put(0, nullFile);
    return this;
  }

  *redirect(shell: Shell, { fd, kind, target }: Redirection): Waiting<void> {
    const word = yield* expandText(shell, target);
    if (kind === '<<') return this.put(fd, new TextFile(word));
    if (kind === '&') return this.put(fd, word === '-' ? undefined : this.#named(word));
    const path = fromCwd(shell.cwd, word);
    const file = yield* attempt(() => shell.system.open(path, kind, this.stdio));
    this.put(fd, file);
    file.release();
  }
  #named(word: string): OpenFile {
    const file = /^\d$/.test(word) ? this.get(Number(word)) : undefined;
    if (file === undefined) throw new XenError('EBADF', `&${word}: there is no such descriptor`);
    return file;
  }
}
