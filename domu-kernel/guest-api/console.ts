// `console`: Node's own formatting, on the console ring.
type GuestConsole = typeof import('xenolith').console;

/** What Node's Console asks of a stream, and nothing else. */
interface ConsoleStream {
  write(text: string): boolean;
  once(): void;
  removeListener(): void;
  listenerCount(): number;
}
/** Node's class, of which a replaced global is an instance. The ring is no stream of Node's, so its types do not fit. */
const NodeConsole = (globalThis.console.Console ?? globalThis.console.constructor) as unknown as new (options: {
  stdout: ConsoleStream;
  stderr: ConsoleStream;
  colorMode: boolean;
}) => Console;

/** What carries a console's lines. */
export interface ConsoleDoor {
  write(text: string): void;
  readLine(): Promise<string | null>;
}

export function consoleApi(hvc: ConsoleDoor): GuestConsole {
  const stream: ConsoleStream = {
    write(text) {
      hvc.write(text);
      return true;
    },
    once() {},
    removeListener() {},
    listenerCount: () => 0,
  };
  const readLine = (prompt = ''): Promise<string | null> => {
    hvc.write(prompt);
    return hvc.readLine();
  };
  return Object.assign(new NodeConsole({ stdout: stream, stderr: stream, colorMode: false }), {
    write: (text: string) => hvc.write(text),
    readLine,
    async *lines(): AsyncGenerator<string> {
      for (let line = await readLine(); line !== null; line = await readLine()) yield line;
    },
  });
}
