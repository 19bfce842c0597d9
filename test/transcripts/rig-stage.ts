// Our daemon in this thread, with a hypervisor on paper, as a stage for transcripts.
import { type Page, requestReconnect, xenstore_domain_interface } from '#pvbus';
import { Player, parseTranscript, type RingIndex, type Stage, type StageClient } from '../support/transcript.ts';
import { DomainClient, type ReceivedFrame, type SocketClient, XenstoreRig } from '../support/xenstore-rig.ts';

/** A client of the rig as transcripts need it. */
class RigPeer<T extends SocketClient | DomainClient> implements StageClient {
  readonly client: T;
  readonly #rig: XenstoreRig;

  constructor(client: T, rig: XenstoreRig) {
    this.client = client;
    this.#rig = rig;
  }
  send(type: number, payload: string, tx_id: number): number {
    return this.client.send(type, payload, tx_id);
  }
  take(): ReceivedFrame[] {
    return this.client.take();
  }
  raw(bytes: Uint8Array): void {
    this.client.raw(bytes);
  }
  move(index: RingIndex, by: number): void {
    const { client } = this;
    if (!(client instanceof DomainClient)) throw new Error('a socket has no indices');
    const at = xenstore_domain_interface.at[index];
    client.page.view.setUint32(at, (client.page.view.getUint32(at, true) + by) >>> 0, true);
    this.#rig.door.fromDomain(client.domid);
  }
  fate(): string {
    this.#rig.run();
    const { client } = this;
    if (!(client instanceof DomainClient)) return client.connection.broken === undefined ? 'nothing' : 'closed';
    const error = client.page.view.getUint32(xenstore_domain_interface.at.error, true);
    return error === 0 ? 'nothing' : `ring error ${error}`;
  }
}

export class RigStage implements Stage {
  readonly rig = new XenstoreRig();
  readonly #pages = new Map<number, Page>();

  dom0(): StageClient {
    return new RigPeer(this.rig.dom0(), this.rig);
  }
  domain(id: number): StageClient {
    const client = this.rig.domain(id);
    this.#pages.set(id, client.page);
    return new RigPeer(client, this.rig);
  }
  door(verb: string, id: number, reason: number): undefined {
    const { door } = this.rig;
    if (verb === 'creates') door.create(id);
    else if (verb === 'shuts-down') door.shutDown(id, reason);
    else if (verb === 'destroys') door.destroy(id);
    else if (verb === 'reconnects') {
      requestReconnect(this.#pages.get(id)!, () => door.fromDomain(id)); // throws for an unknown one
    } else throw new Error(`door: ${verb}`);
    this.rig.run();
  }
  clock(seconds: number): void {
    this.rig.clock.advance(seconds * 1e9);
    this.rig.server.checkStalled();
  }
}

/** Throws, naming the line, when our daemon does not do as the table says. */
export async function playTranscript(text: string): Promise<void> {
  const stage = new RigStage();
  const player = new Player(stage);
  for (const line of parseTranscript(text)) {
    const got = await player.play(line);
    if (got) throw new Error(`line ${line.number}: ${line.text}\ngot ${JSON.stringify(got)}`);
  }
  const left = await player.leftOver();
  if (left.size > 0) throw new Error(`not written down: ${JSON.stringify([...left])}`);
  const { server, log } = stage.rig;
  const wrong = server.check();
  if (wrong !== undefined) throw new Error(`the store is damaged: ${wrong}`);
  const errors = log.lines.filter(line => line.startsWith('error'));
  if (errors.length > 0) throw new Error(`logged: ${errors.join('; ')}`);
}
