// Our daemon in this thread, with a hypervisor on paper, as a stage for transcripts.
import { requestReconnect } from '#pvbus';
import { Player, parseTranscript, type Stage } from '../support/transcript.ts';
import { type DomainClient, type RigClient, XenstoreRig } from '../support/xenstore-rig.ts';

export class RigStage implements Stage {
  readonly rig = new XenstoreRig();
  readonly #domains = new Map<number, DomainClient>();

  dom0(): RigClient {
    return this.rig.dom0();
  }
  domain(id: number): DomainClient {
    const client = this.rig.domain(id);
    this.#domains.set(id, client);
    return client;
  }
  door(verb: string, id: number, reason: number): undefined {
    const { door } = this.rig;
    if (verb === 'creates') door.create(id);
    else if (verb === 'shuts-down') door.shutDown(id, reason);
    else if (verb === 'destroys') door.destroy(id);
    else if (verb === 'reconnects') {
      requestReconnect(this.#domains.get(id)!.page, () => door.fromDomain(id)); // throws for an unknown one
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
