// The bridges of a netback thread, as its domain's toolstack deals with them.
import type { BridgeInfo } from '#pvbus';
import type { BackendThread } from '../backend-thread.ts';
import type { CaptureChunk, Captured } from './capture.ts';
import type { NetbackEvent, NetbackMessage, NetbackReport } from './messages.ts';

/** Each resolves when it is done, and rejects with what the thread says. */
export interface Bridges {
  create(name: string, mtu: number): Promise<void>;
  /** With its ports of the host. */
  delete(name: string): Promise<void>;
  /** `patient`: one that cannot be had now is there all the same, down, and tried again. */
  addPort(bridge: string, port: string, patient?: boolean): Promise<void>;
  removePort(bridge: string, port: string): Promise<void>;
  list(): Promise<BridgeInfo[]>;
  /** Resolves when frames are captured, with what ends that; the last chunk has come when that resolves. */
  capture(what: Captured, limit: number | null, hear: (chunk: CaptureChunk) => void): Promise<() => Promise<void>>;
}

export function bridgesOf(thread: Pick<BackendThread, 'call' | 'onEvent'>): Bridges {
  const captures = new Map<number, (chunk: CaptureChunk) => void>();
  let lastCapture = 0;
  thread.onEvent(event => {
    const news = event as NetbackEvent; // our own worker's
    if (news.event !== 'captured') return;
    captures.get(news.id)?.(news.chunk);
    void call({ op: 'captureTaken', id: news.id });
  });
  const call = async (message: NetbackMessage): Promise<void> => void (await thread.call(message));
  return {
    create: (name, mtu) => call({ op: 'createBridge', name, mtu }),
    delete: name => call({ op: 'deleteBridge', name }),
    addPort: (bridge, port, patient = false) => call({ op: 'addPort', bridge, port, patient }),
    removePort: (bridge, port) => call({ op: 'removePort', bridge, port }),
    list: async () => bridgeInfos((await thread.call({ op: 'report' })) as NetbackReport), // our own thread's
    async capture(what, limit, hear) {
      const id = ++lastCapture;
      captures.set(id, hear);
      try {
        await call({ op: 'capture', id, what, limit });
      } catch (error) {
        captures.delete(id);
        throw error;
      }
      return async () => {
        await call({ op: 'endCapture', id });
        captures.delete(id);
      };
    },
  };
}

const bridgeInfos = ({ bridges, vifs }: NetbackReport): BridgeInfo[] =>
  bridges.map(({ name, mtu, ports }) => ({
    ...{ name, mtu },
    ports: ports.map(({ port, down, stats }) => ({
      ...{ port, up: down === undefined, reason: down ?? null },
      ...{ received: stats.received, received_bytes: stats.receivedBytes, refused: stats.refused },
      ...{ sent: stats.sent, sent_bytes: stats.sentBytes, dropped: stats.dropped },
    })),
    vifs: vifs.filter(vif => vif.bridge === name).map(vif => vif.name),
  }));
