// What is agreed upon with a frontend, and told to the thread that serves it.
import { XenError } from '#pvbus';
import type { BackendDevice } from '../backend-device.ts';

/** What is offered as 'multi-queue-max-queues' and 'max-ring-page-order'. Xen: Linux has rings of 16 pages at most. */
export const MAX_QUEUES = 8;
export const MAX_RING_ORDER = 4;

/** One of its rings. untrusted: the frontend's numbers are numbers, and no more is known of them. */
export interface VbdRingPlace {
  /** Of its pages, in their order. */
  readonly ringRefs: readonly number[];
  readonly eventChannel: number;
}

/** What device.ts has negotiated. */
export interface VbdConnection {
  /** The device's name between device and worker. */
  readonly key: string;
  /** How messages name it: `vbd 51712 of dom1`. */
  readonly label: string;
  readonly frontendDomid: number;
  /** Xen: its queues, one at least. */
  readonly rings: readonly VbdRingPlace[];
  readonly persistent: boolean;
  /** The open image, -1 when it is no file. It stays open until the disconnect has been answered. */
  readonly fd: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly discard: boolean;
}

/** Xen: io/blkif.h, "Multi-queue" and note on multi-page rings. Throws EINVAL when what the frontend says cannot be. */
export async function readRings(device: BackendDevice): Promise<VbdRingPlace[]> {
  // untrusted: all of it.
  const [queues, order] = await Promise.all([
    device.frontendNumber('multi-queue-num-queues', MAX_QUEUES, 1),
    ringOrder(device),
  ]);
  if (queues === 0) throw new XenError('EINVAL', `${device.label}: multi-queue-num-queues is 0`);
  const refNames = order === 0 ? ['ring-ref'] : Array.from({ length: 1 << order }, (_, i) => `ring-ref${i}`);
  const rings = await Promise.all(
    Array.from({ length: queues }, async (_, queue): Promise<VbdRingPlace> => {
      const at = queues === 1 ? '' : `queue-${queue}/`;
      const [eventChannel, ...ringRefs] = await Promise.all(
        ['event-channel', ...refNames].map(name => device.frontendNumber(at + name)),
      );
      return { ringRefs, eventChannel: eventChannel! };
    }),
  );
  const refs = rings.flatMap(({ ringRefs }) => ringRefs);
  const twice = refs.find((ref, i) => refs.indexOf(ref) !== i);
  if (twice !== undefined) throw new XenError('EINVAL', `${device.label}: gref ${twice} is in two places of its rings`);
  return rings;
}

/** Xen: io/blkif.h, note 3: of the two ways to say it a frontend may know one only. */
async function ringOrder(device: BackendDevice): Promise<number> {
  const [order, pages] = await Promise.all([
    device.frontendNumber('ring-page-order', MAX_RING_ORDER, -1),
    device.frontendNumber('num-ring-pages', 1 << MAX_RING_ORDER, 1),
  ]);
  if (order >= 0) return order;
  if (pages === 0 || (pages & (pages - 1)) !== 0)
    throw new XenError('EINVAL', `${device.label}: num-ring-pages is ${pages}, expected a power of 2`);
  return Math.log2(pages);
}
