// Bytes to be read once, from wherever: what a here-document is to who reads it.
import { XenError } from '#pvbus';
import type { OpenFile } from './open-file.ts';

export class TextFile implements OpenFile {
  readonly kind = 'pipe';
  readonly queue = undefined;
  private readonly bytes: Uint8Array;
  private at = 0;

  constructor(text: string) {
    this.bytes = new TextEncoder().encode(text);
  }
  retain(): void {}
  release(): void {}
  read(into: Uint8Array): number {
    const part = this.bytes.subarray(this.at, this.at + into.length);
    into.set(part);
    this.at += part.length;
    return part.length;
  }
  write(): never {
    throw new XenError('EBADF', 'it is only read');
  }
  readable(): number {
    return Math.max(1, this.bytes.length - this.at);
  }
  writable(): number {
    return 1;
  }
  hungUp(): boolean {
    return this.at === this.bytes.length;
  }
}
