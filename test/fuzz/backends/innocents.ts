// Guests with the drivers of this project, each with one device, whose backend serves them whatever another guest does.
import type { Vcpu, XenstoreClient } from '#pvbus';
import { XenError } from '#pvbus';
import type { Blocking } from '../../../domu-kernel/block-device.ts';
import { Blkfront } from '../../../domu-kernel/drivers/blkfront/device.ts';
import { Frontend, type FrontendInstance, findDevices } from '../../../domu-kernel/drivers/frontend-device.ts';
import { Netfront } from '../../../domu-kernel/drivers/netfront/device.ts';
import { P9Device } from '../../../domu-kernel/drivers/p9front/device.ts';
import { PvcallsDevice } from '../../../domu-kernel/drivers/pvcallsfront/device.ts';
import { P9FileSystem } from '../../../domu-kernel/fs/p9-file-system.ts';
import { ListLog } from '../../support/xenstore-rig.ts';

export type Kind = 'vbd' | 'vif' | 'pvcalls' | '9pfs';

export interface Innocent {
  /** Resolves when its device is connected. */
  start(): Promise<void>;
  step(): void;
  /** Throws when its device does nothing for it. */
  serve(): void | Promise<void>;
}
export interface InnocentParts {
  readonly xs: XenstoreClient;
  readonly vcpu: Vcpu;
  readonly devid: number;
  readonly blocking: Blocking;
  until(condition: () => boolean): Promise<void>;
}

const common = ({ xs, vcpu }: InnocentParts) => ({ xs, vcpu, log: new ListLog() });

/** How a driver of this project is started, and runs. */
const driven = ({ vcpu }: InnocentParts, front: Blkfront | Netfront): Pick<Innocent, 'start' | 'step'> => ({
  start: () => front.start(),
  step: () => {
    vcpu.events.poll();
    front.step();
  },
});

function disk(parts: InnocentParts): Innocent {
  const front = new Blkfront({ ...common(parts), blocking: parts.blocking });
  const bytes = new Uint8Array(512);
  let mark = 0;
  return {
    ...driven(parts, front),
    serve: () => {
      const [disk] = front.disks();
      mark = (mark + 1) & 255;
      disk!.write(0, bytes.fill(mark));
      disk!.read(0, bytes.fill(0));
      if (bytes[511] !== mark) throw new Error('the innocent reads what it has not written');
    },
  };
}

function card(parts: InnocentParts): Innocent {
  const front = new Netfront(common(parts));
  const frame = new Uint8Array(60).fill(255, 0, 6);
  return {
    ...driven(parts, front),
    serve: () => {
      const vif = front.interfaces()[0]!;
      const { answered } = vif;
      if (!vif.send(frame, frame.length)) throw new Error('the innocent cannot send');
      parts.blocking.waitUntil(() => vif.answered > answered);
    },
  };
}

/** Of a device that has no driver of its own to find it. */
function only(
  parts: InnocentParts,
  type: Kind,
  make: (device: ConstructorParameters<typeof P9Device>[0]) => FrontendInstance,
) {
  const { xs, vcpu, devid } = parts;
  const front = new Frontend({ xs, log: new ListLog(), type, domid: vcpu.domid, create: make });
  return {
    start: async (): Promise<void> => {
      await findDevices(xs, vcpu.domid, [front]);
      await front.find(devid)!.ready();
    },
    step: (): void => void vcpu.events.poll(),
    get device(): FrontendInstance {
      return front.find(devid)!.instance;
    },
  };
}

function folder(parts: InnocentParts): Innocent {
  const front = only(parts, '9pfs', device => new P9Device(device, parts.vcpu, parts.blocking));
  let fs: P9FileSystem | undefined;
  return Object.assign(front, {
    serve: (): void => {
      fs ??= new P9FileSystem((front.device as P9Device).client, 'shared');
      fs.root.lookup('a')!.release();
    },
  });
}

/** A port that it may not have: the refusal is its backend's. */
const FORBIDDEN = 99;
function sockets(parts: InnocentParts): Innocent {
  const front = only(parts, 'pvcalls', device => new PvcallsDevice(device, parts.vcpu, new ListLog()));
  return Object.assign(front, {
    serve: async (): Promise<void> => {
      let refused: unknown;
      (front.device as PvcallsDevice).connect(FORBIDDEN).then(
        () => {
          refused = new Error('a port that is not served');
        },
        error => {
          refused = error;
        },
      );
      await parts.until(() => refused !== undefined);
      if (!(refused instanceof XenError) || refused.code !== 'EACCES') throw refused;
    },
  });
}

export const INNOCENTS: Readonly<Record<Kind, (parts: InnocentParts) => Innocent>> = {
  ...{ vbd: disk, vif: card, pvcalls: sockets, '9pfs': folder },
};
