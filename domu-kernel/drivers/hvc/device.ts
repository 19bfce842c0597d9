// hvc0: the console page of start_info, which is there before xenstore is.
import type { GuestStartInfo, Log, Vcpu } from '#pvbus';
import { LineEditor } from './line-editor.ts';
import { HvcStats } from './stats.ts';
import { HvcWorker } from './worker.ts';

/** Lines kept for dmesg. */
const MAX_MESSAGES = 500;
const encoder = new TextEncoder();

export class Hvc {
  readonly stats = new HvcStats();
  /** The kernel's own lines. */
  readonly log: Log;
  /** The last of those lines, also what is only information. */
  readonly messages: string[] = [];
  private readonly worker: HvcWorker;
  private readonly editor: LineEditor;

  /** `debug`: the kernel's information too, not only its warnings. */
  constructor(vcpu: Vcpu, info: GuestStartInfo['console'], debug = false) {
    const page = vcpu.memory.page(info.gfn);
    this.worker = new HvcWorker(page, () => vcpu.events.notify(info.port), this.stats);
    this.editor = new LineEditor(
      text => this.worker.write(encoder.encode(text)),
      lost => {
        this.stats.inputLost += lost;
      },
    );
    this.worker.onInput = bytes => this.editor.input(bytes);
    vcpu.events.on(info.port, () => void this.worker.step());
    const line =
      (level: string, shown = true) =>
      (text: string): void => {
        this.messages.push(`${level}${text}\n`);
        if (this.messages.length > MAX_MESSAGES) this.messages.shift();
        if (shown) this.write(`xenolith: ${level}${text}\n`);
      };
    this.log = { info: line('', debug), warn: line('warning: '), error: line('error: ') };
  }

  /** Terminals want a carriage return before each line feed. */
  write(text: string): void {
    this.worker.write(encoder.encode(text.replace(/\r?\n/g, '\r\n')));
  }
  /** As they are. */
  writeBytes(bytes: Uint8Array): void {
    this.worker.write(bytes);
  }
  /** Bytes that wait for somebody to read the console. */
  get waiting(): number {
    return this.worker.waiting;
  }
  /** What is typed goes to `input` from here on, and to no `readLine`. */
  takeInput(input: (bytes: Uint8Array) => void): void {
    this.worker.onInput = input;
  }
  readLine(): Promise<string | null> {
    return this.editor.read();
  }
  get drained(): boolean {
    return this.worker.drained;
  }
  step(): 'progress' | 'idle' {
    return this.worker.step();
  }
}
