// What a request asks of an image that answers at once: its bytes, straight between the image and granted pages.
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '#pvbus';
import { type DiskImage, Later } from './disk-image.ts';
import { type BlkbackRequest, SECTOR_SIZE } from './request.ts';
import type { Mapped } from './request-pages.ts';

/** The requests of all rings of a vbd, one at a time. */
export class ImageRequests {
  image: DiskImage;
  /** A flush has failed: Linux counts what it was to write as written, so that another one would say it is there. */
  #lost = false;

  constructor(image: DiskImage) {
    this.image = image;
  }

  /** A BLKIF_RSP_. `mapped`: its segments are. Throws Later when the image says so. */
  perform(request: BlkbackRequest, mapped: Mapped): number {
    try {
      switch (request.operation) {
        case BLKIF_OP_READ:
          this.#transfer(request, mapped, false);
          return BLKIF_RSP_OKAY;
        case BLKIF_OP_WRITE:
          this.#transfer(request, mapped, true);
          return BLKIF_RSP_OKAY;
        case BLKIF_OP_FLUSH_DISKCACHE:
          // Xen: a flush may carry data, written after what came before it is safe.
          if (!this.#flush(request)) return BLKIF_RSP_ERROR;
          this.#transfer(request, mapped, true);
          return BLKIF_RSP_OKAY;
        case BLKIF_OP_WRITE_BARRIER:
          return this.#writeBarrier(request, mapped);
        default: // BLKIF_OP_DISCARD: nothing else is decoded
          if (request.sectors > 0) this.image.discard(request.sector * SECTOR_SIZE, request.sectors * SECTOR_SIZE);
          return BLKIF_RSP_OKAY;
      }
    } catch (error) {
      if (error instanceof Later) throw error;
      const { sector, sectors } = request;
      request.why = `image, ${sectors} sectors at ${sector}: ${error instanceof Error ? error.message : error}`;
      return BLKIF_RSP_ERROR;
    }
  }

  /** Parts that lie side by side in memory go in one system call. */
  #transfer(request: BlkbackRequest, mapped: Mapped, write: boolean): void {
    const { image } = this;
    const { offsets, lengths } = request;
    let at = request.sector * SECTOR_SIZE;
    for (let i = 0; i < request.nr_segments; ) {
      const { pool, offset } = mapped[i]!;
      const start = offset + offsets[i]!;
      let length = lengths[i]!;
      for (i++; i < request.nr_segments; i++) {
        const next = mapped[i]!;
        if (next.pool !== pool || next.offset + offsets[i]! !== start + length) break;
        length += lengths[i]!;
      }
      if (write) image.write(pool, start, length, at);
      else image.read(pool, start, length, at);
      at += length;
    }
  }

  /** Xen: what came before it is safe before it, and it is before what comes after it. */
  #writeBarrier(request: BlkbackRequest, mapped: Mapped): number {
    if (!this.#flush(request)) return BLKIF_RSP_ERROR;
    if (request.nr_segments === 0) return BLKIF_RSP_OKAY;
    this.#transfer(request, mapped, true);
    return this.#flush(request) ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR;
  }

  /** False: it cannot say so any more. */
  #flush(request: BlkbackRequest): boolean {
    if (this.#lost) {
      request.why = 'an earlier flush has failed';
      return false;
    }
    try {
      this.image.flush();
      return true;
    } catch (error) {
      if (!(error instanceof Later)) this.#lost = true;
      throw error;
    }
  }
}
