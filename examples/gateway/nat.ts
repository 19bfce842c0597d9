// A connection of a guest becomes one of the host's: bytes, ends and resets go across, each way as fast as its reader.
import type { Connection, InterceptedConnection } from 'xenolith';

/** The host's sockets are 256 for a domain; some are for names. */
export const CONNECTIONS = 224;
/** So that one guest leaves some to the others. */
export const CONNECTIONS_OF_ONE = 64;

/** What a guest hears of what the host says. */
const REFUSALS: Record<string, 'EACCES' | 'ENETUNREACH' | 'ECONNREFUSED'> = {
  ...{ EACCES: 'EACCES', ENETUNREACH: 'ENETUNREACH', ECONNREFUSED: 'ECONNREFUSED' },
  ECONNRESET: 'ECONNREFUSED',
};

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}
export interface NatParts {
  /** As the host does. Rejects with an errno name as `code`. */
  connect(address: string, port: number): Promise<Connection>;
  /** Where a connection for `to` really leads. */
  translate(to: Endpoint): Endpoint;
  log(line: string): void;
}

export class NatTable {
  /** Connections, also those that are being opened. */
  open = 0;
  private readonly of = new Map<string, number>();
  private readonly told = new Set<string>();
  private readonly parts: NatParts;

  constructor(parts: NatParts) {
    this.parts = parts;
  }

  /** From its SYN to its end; never rejects. */
  async relay(asked: InterceptedConnection): Promise<void> {
    const { address: guest } = asked.from;
    const own = this.of.get(guest) ?? 0;
    if (this.open >= CONNECTIONS || own >= CONNECTIONS_OF_ONE) {
      this.tell(`${guest} has ${own} connections of ${this.open}, and gets no more for now`);
      asked.refuse();
      return;
    }
    this.open++;
    this.of.set(guest, own + 1);
    try {
      await this.connect(asked);
    } finally {
      this.open--;
      const left = this.of.get(guest)! - 1;
      if (left === 0) this.of.delete(guest);
      else this.of.set(guest, left);
    }
  }

  private async connect(asked: InterceptedConnection): Promise<void> {
    const to = this.parts.translate(asked.to);
    let outside: Connection;
    try {
      outside = await this.parts.connect(to.address, to.port);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === 'EACCES')
        this.tell(`${asked.from.address} wants ${to.address} port ${to.port}: not allowed by pvcalls=`);
      asked.refuse(REFUSALS[code ?? ''] ?? 'EHOSTUNREACH');
      return;
    }
    let inside: Connection;
    try {
      inside = await asked.accept();
    } catch {
      await outside.reset(); // the guest has given up
      return;
    }
    try {
      await Promise.all([pass(inside, outside), pass(outside, inside)]);
      await Promise.all([inside.close(), outside.close()]);
    } catch {
      // One side has failed: so does the other, as it would without anybody between.
      await Promise.all([inside.reset(), outside.reset()]);
    }
  }

  /** Once for each thing, and not for ever. */
  private tell(line: string): void {
    if (this.told.size >= 64 || this.told.has(line)) return;
    this.told.add(line);
    this.parts.log(line);
  }
}

async function pass(from: Connection, to: Connection): Promise<void> {
  for await (const bytes of from) await to.write(bytes);
  await to.end();
}
