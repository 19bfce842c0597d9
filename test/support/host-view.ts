// A host as a person at a shell sees it: its run directory, and xl.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

export const dist = (file: string): string => fileURLToPath(new URL(`../../dist/${file}`, import.meta.url));
export const root = fileURLToPath(new URL('../../', import.meta.url));

export interface XlResult {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** One row of `xl list`; `state` as it prints it, `-b----`. */
export interface ListedDomain {
  readonly name: string;
  readonly domid: number;
  readonly memory: number;
  readonly state: string;
  /** Of a processor, so far. */
  readonly seconds: number;
}

export class HostView {
  readonly runDir: string;
  readonly #cwd: string;

  readonly #user: number | undefined;

  /** `cwd` is where xl runs; as `user`, when this is root. */
  constructor(runDir: string, cwd = root, user?: number) {
    this.runDir = runDir;
    this.#cwd = cwd;
    this.#user = user;
  }
  get env(): Record<string, string> {
    return { XENOLITH_RUN_DIR: this.runDir };
  }
  /** Run `xl` against this host. Never throws for its exit code. */
  xl(...args: string[]): Promise<XlResult> {
    return this.xlIn(this.#cwd, ...args);
  }
  /** The same with another working directory. */
  async xlIn(cwd: string, ...args: string[]): Promise<XlResult> {
    const result = await execa(process.execPath, [dist('xl.js'), ...args], {
      env: this.env,
      cwd,
      reject: false,
      stdin: 'ignore',
      ...(this.#user !== undefined && { uid: this.#user, gid: this.#user }),
      stripFinalNewline: false,
    });
    return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }
  /** What `xl list` shows. */
  async domains(): Promise<ListedDomain[]> {
    const { stdout, stderr, exitCode } = await this.xl('list');
    if (exitCode !== 0) throw new Error(`xl list: ${stderr}`);
    return stdout
      .trimEnd()
      .split('\n')
      .slice(1)
      .map(line => {
        const [, name = '', domid, memory, state = '', time] =
          /^(\S+)\s+(\d+)\s+(\d+)\s+\d+\s+(\S+)\s+([\d.]+)$/.exec(line) ?? [];
        return { name, domid: Number(domid), memory: Number(memory), state, seconds: Number(time) };
      });
  }
  log(): string {
    try {
      return readFileSync(join(this.runDir, 'host.log'), 'utf8');
    } catch {
      return '(no log)';
    }
  }
  /** The log for an error's message, where a stack in it would be taken for the test's own. */
  logToQuote(): string {
    return this.log().replaceAll(/^ +at .*\n/gm, '');
  }
  consoleLog(name: string): string {
    try {
      return readFileSync(join(this.runDir, 'log', `console-${name}.log`), 'utf8');
    } catch {
      return '';
    }
  }
  /** Names of what is in the run directory. */
  files(): string[] {
    return readdirSync(this.runDir, { recursive: true }).map(String).sort();
  }
}
