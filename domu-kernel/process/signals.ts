// Signals, by Linux's names and numbers. A WASI program can catch none: each does what it does by default.

export const SIGNALS = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPWR: 30,
  SIGSYS: 31,
} as const;

export type SignalName = keyof typeof SIGNALS;

export type SignalAction = 'end' | 'stop' | 'continue' | 'ignore';

const ACTIONS: Partial<Record<SignalName, SignalAction>> = {
  SIGCHLD: 'ignore',
  SIGURG: 'ignore',
  SIGWINCH: 'ignore',
  SIGCONT: 'continue',
  SIGSTOP: 'stop',
  SIGTSTP: 'stop',
  SIGTTIN: 'stop',
  SIGTTOU: 'stop',
};

export const actionOf = (signal: SignalName): SignalAction => ACTIONS[signal] ?? 'end';

const names = new Map<string, SignalName>();
for (const [name, number] of Object.entries(SIGNALS) as [SignalName, number][]) {
  for (const word of [name, name.slice('SIG'.length), String(number)]) names.set(word, name);
}
/** Of 'SIGINT', 'INT', 'int' or '2'. */
export const signalNamed = (word: string): SignalName | undefined => names.get(word.toUpperCase());
