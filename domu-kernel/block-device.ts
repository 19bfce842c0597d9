// What a program and a file system see of a disk.

/** Whole sectors, and where on a disk they are to be. */
export interface Piece {
  readonly sector: number;
  readonly bytes: Uint8Array;
}

/** How a guest waits: the kernel goes on stepping its drivers until the condition holds. */
export interface Blocking {
  waitUntil(condition: () => boolean): void;
}

/**
 * A disk, in sectors of `sectorSize` bytes. Buffers hold whole sectors. What fails throws a XenError (or
 * rejects): EIO from the disk, EROFS, EINVAL for a range that is not on the disk, ENODEV once it is gone.
 */
export interface BlockDevice {
  /** 'xvda' */
  readonly name: string;
  readonly sectors: number;
  readonly sectorSize: number;
  readonly readOnly: boolean;
  /** Bytes: what of a discard is not a multiple of them has no effect. Absent or 0: it takes none. */
  readonly discardGranularity?: number;

  // These return when it is done. Two blocking calls are done in their order.
  read(sector: number, into: Uint8Array): void;
  write(sector: number, from: Uint8Array): void;
  /** None of them in the place of another. Nothing orders them; when this throws, any of them may have been written. */
  writeAll?(pieces: readonly Piece[]): void;
  /** Everything written before is on the medium when this returns. */
  flush(): void;
  /** These sectors are not needed any more. Throws EOPNOTSUPP where the disk cannot. */
  discard(sector: number, count: number): void;

  // These start it. Nothing orders them among one another; the buffer is the disk's until the promise settles.
  submitRead(sector: number, into: Uint8Array): Promise<void>;
  submitWrite(sector: number, from: Uint8Array): Promise<void>;
  /** Covers the writes whose promises have resolved. */
  submitFlush(): Promise<void>;
  submitDiscard(sector: number, count: number): Promise<void>;
}
