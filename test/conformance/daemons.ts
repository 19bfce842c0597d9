// Our daemon and Debian's two, for tests that ask the same of all three.
import { start, whyNot } from '../support/real-xenstored.ts';
import { XenstoredProcess } from '../support/xenstored-process.ts';

export interface Running {
  /** Its unix socket. */
  readonly socket: string;
  stop(): Promise<void>;
}

export interface Daemon {
  readonly name: 'ours' | 'c' | 'ocaml';
  /** Why it cannot run here; undefined when it can. */
  readonly reason: string | undefined;
  /** With an empty store. */
  start(): Promise<Running>;
}

async function startOurs(): Promise<Running> {
  const ours = new XenstoredProcess();
  await ours.start({ journal: false, confined: true });
  return { socket: ours.socket, stop: () => ours.remove() };
}

export const daemons: readonly Daemon[] = [
  { name: 'ours', reason: undefined, start: startOurs },
  { name: 'c', reason: whyNot('c'), start: () => start('c') },
  { name: 'ocaml', reason: whyNot('ocaml'), start: () => start('ocaml') },
];

/** For the title of what is skipped. */
export const skipped = (reason: string | undefined): string => (reason === undefined ? '' : `, skipped: ${reason}`);
