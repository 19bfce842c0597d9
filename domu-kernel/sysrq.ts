// The key that `xl sysrq` presses: control/sysrq. Xen: docs/misc/xenstore-paths. Letters and words are Linux's.
import { type Log, readKey, type XenstoreClient } from '#pvbus';

/** What the kernel does for a key. Nothing of the program is asked, nor waited for. */
export interface SysrqActions {
  /** At once, without a word to the program or its disks. */
  crash(): void;
  reboot(): void;
  poweroff(): void;
  memory(): string;
  /** The processes, a line each. */
  tasks(): string;
  /** Everything written so far onto the disks. */
  sync(): void;
}

interface Key {
  readonly help: string;
  readonly says: string;
  run(actions: SysrqActions, say: (line: string) => void): void;
}
const KEYS: ReadonlyMap<string, Key> = new Map([
  ['b', { help: 'reboot(b)', says: 'Resetting', run: actions => actions.reboot() }],
  ['c', { help: 'crash(c)', says: 'Trigger a crash', run: actions => actions.crash() }],
  ['m', { help: 'show-memory-usage(m)', says: 'Show Memory', run: (actions, say) => say(actions.memory()) }],
  ['o', { help: 'poweroff(o)', says: 'Power Off', run: actions => actions.poweroff() }],
  ['s', { help: 'sync(s)', says: 'Emergency Sync', run: actions => actions.sync() }],
  ['t', { help: 'show-task-states(t)', says: 'Show State', run: (actions, say) => say(actions.tasks()) }],
]);

export function pressSysrq(letter: string, actions: SysrqActions, say: (line: string) => void): void {
  const key = KEYS.get(letter);
  if (key === undefined) {
    say(`sysrq: HELP : ${[...KEYS.values()].map(({ help }) => help).join(' ')}`);
    return;
  }
  say(`sysrq: ${key.says}`);
  key.run(actions, say);
}

/** Resolves when keys are heard. */
export async function watchSysrq(
  xs: XenstoreClient,
  home: string,
  log: Log,
  pressed: (letter: string) => void,
): Promise<void> {
  const path = `${home}/control/sysrq`;
  const look = async (): Promise<void> => {
    if (!(await readKey(xs, path))) return;
    const letter = await xs.transaction(async tx => {
      const value = await readKey(xs, path, tx);
      // Xen: emptying it is the acknowledgement, before the key does what it does.
      if (value) await xs.write(path, '', tx);
      return value?.[0];
    });
    if (letter !== undefined) pressed(letter);
  };
  await xs.watch(path, 'control/sysrq', () => {
    look().catch(error => log.warn(`control/sysrq: ${error instanceof Error ? error.message : error}`));
  });
}
