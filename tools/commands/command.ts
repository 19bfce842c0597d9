// What a command of xl is, and what it is given.

import type { XlConf } from '../config/xl-conf.ts';
import type { ToolstackClient } from '../toolstack-client.ts';

/** The process around a command, passed in. */
export interface XlIo {
  readonly stdin: NodeJS.ReadableStream & {
    readonly isTTY?: boolean;
    setRawMode?(raw: boolean): unknown;
    ref?(): unknown;
    unref?(): unknown;
    destroy?(): unknown;
  };
  readonly stdout: NodeJS.WritableStream & {
    readonly isTTY?: boolean;
    readonly columns?: number;
    readonly rows?: number;
  };
  readonly stderr: NodeJS.WritableStream;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** What a shell in `cwd` calls this xl by. */
  readonly xl: string;
  /** Path of xl.conf, which need not exist. */
  readonly xlConf: string;
  readonly random: (bytes: number) => Uint8Array;
  /** Aborts on SIGINT and SIGTERM, for the commands that clear up; unused, the signals end the process. */
  readonly interrupted: () => AbortSignal;
  /**
   * Aborts when nobody reads any more what is written ('SIGPIPE'), or it cannot be written, which has been said; for the commands
   * that clear up. Unused, that ends the process.
   */
  readonly unread: () => AbortSignal;
}

/** xl's options before the command. */
export interface GlobalOptions {
  readonly verbose: number;
  readonly dryRun: boolean;
  readonly force: boolean;
}

export interface CommandContext {
  readonly io: XlIo;
  readonly global: GlobalOptions;
  readonly spec: CommandSpec;
  /** What xl.conf says. */
  readonly conf: XlConf;
  /** A line of the command's output, newline added. */
  out(line: string): void;
  /** A line for the person at the terminal. */
  err(line: string): void;
  /** Print the command's help; returns `exitCode`. */
  usage(exitCode: number): number;
  /** The toolstack of the host that the environment names. Closed for the command when it is over. */
  connect(): Promise<ToolstackClient>;
  /** `libxl: error: ...` for a failure of the toolstack. */
  complain(error: unknown): void;
}

export type RunCommand = (args: readonly string[], context: CommandContext) => Promise<number>;

export interface CommandSpec {
  readonly name: string;
  /** Changes something: -f is shown in its usage. */
  readonly modifies: boolean;
  /** Knows -N. */
  readonly dryRun?: boolean;
  readonly usage: string;
  readonly description: string;
  readonly options?: string;
  /** Has --json; what it prints is in docs/xl-json.md. */
  readonly json?: true;
  /** Lines of a shell, for a command of ours. */
  readonly examples?: string;
  readonly load: () => Promise<{ readonly run: RunCommand }>;
}

/** Ends a command: `message` goes to stderr. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}
