// What vCPU 0's thread and another one of the same process can give each other besides bytes: memory that both then have.
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';

export interface Mail {
  /** `moved` are the other end's from then on. */
  post(value: object, moved?: readonly ArrayBuffer[]): void;
  /** The first that was posted and not taken; undefined: there is none. */
  take(): unknown;
}

/** Needs no turn of the thread's event loop. */
export const portMail = (port: MessagePort): Mail => ({
  post: (value, moved = []) => port.postMessage(value, moved),
  take: () => receiveMessageOnPort(port)?.message,
});
