// How long a domain waits for an answer, counted in turns of the daemon and not in time.
import { XS_READ, xenstoreFrame, xenstoreRing } from '#pvbus';
import type { DomainClient, XenstoreRig } from '../../support/xenstore-rig.ts';

/** In so many turns a request in a ring is answered, whatever the others do. */
export const TURNS = 2;

/** Let a domain ask for something. Throws when it has no answer after TURNS turns. */
export function servedInTime(rig: XenstoreRig, client: DomainClient): void {
  const { reader, writer } = xenstoreRing(client.page, 'front');
  writer.write(xenstoreFrame(XS_READ, 1, 0, Buffer.from('data\0')));
  rig.door.fromDomain(client.domid);
  for (let turns = 0; reader.readable() === 0; turns++) {
    if (turns === TURNS) throw new Error(`dom${client.domid} has no answer after ${TURNS} turns`);
    rig.server.step();
  }
  client.take();
}
