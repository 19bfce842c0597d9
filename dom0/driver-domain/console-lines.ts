// The lines of a driver domain on its console, so that `xl console` and its log show them as any guest's.
import { consoleRing, type GuestStartInfo, type Log, streamLog, type Vcpu } from '#pvbus';

const encoder = new TextEncoder();

/** `log`, whose lines go to the console too. One for which there is no room now is left out: nobody waits for a reader. */
export function besideConsole(log: Log, vcpu: Vcpu, { gfn, port }: GuestStartInfo['console']): Log {
  const { writer } = consoleRing(vcpu.memory.page(gfn), 'front');
  vcpu.events.on(port, () => {}); // what is typed there, nobody reads
  const write = (line: string): void => {
    const bytes = encoder.encode(line.replace(/\n$/, '\r\n'));
    if (writer.writable() < bytes.length) return; // untrusted: -1 for indices that cannot be
    writer.write(bytes);
    vcpu.events.notify(port);
  };
  const console = streamLog({ write }, 'xenolith');
  const both = (level: keyof Log) => (line: string) => {
    log[level](line);
    console[level](line);
  };
  return { info: both('info'), warn: both('warn'), error: both('error') };
}
