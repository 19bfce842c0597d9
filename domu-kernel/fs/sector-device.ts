// What a file system asks of a disk. Every call returns when the disk answered, or throws a XenError.

export interface SectorDevice {
  /** For messages: 'xvda'. */
  readonly name: string;
  /** Bytes; what a transfer must be a multiple of. */
  readonly sectorSize: number;
  readonly sectors: number;
  readonly readOnly: boolean;
  /** Fills `into` from `sector` on. */
  read(sector: number, into: Uint8Array): void;
  write(sector: number, from: Uint8Array): void;
  /** Everything written before is on the medium when this returns. */
  flush(): void;
}
