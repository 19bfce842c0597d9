// What is done to files in a guest and on the host, by the same code.

export interface Files {
  write(name: string, bytes: Uint8Array, sync: boolean): void;
  stat(name: string): unknown;
  rename(from: string, to: string): void;
  remove(name: string): void;
  open(name: string): OpenFile;
}
export interface OpenFile {
  read(into: Uint8Array, position: number): unknown;
  write(from: Uint8Array, position: number): unknown;
  sync(): void;
  close(): void;
}

const BLOCK = 4096;
/** Of the file that is read and written at random. */
const BLOCKS = 4096;
const READS = 0.7;
const WRITES_A_SYNC = 32;

const nameOf = (n: number): string => `a file with a name, ${n}`;
const movedOf = (n: number): string => `and another name, ${n}`;
const each = (count: number, act: (n: number) => void): void => {
  for (let n = 0; n < count; n++) act(n);
};
const page = new Uint8Array(BLOCK).fill(7);

/** Each is done `count` times; 'create' first, 'remove' last. */
export const JOBS: Readonly<Record<string, (files: Files, count: number) => void>> = {
  create: (files, count) => each(count, n => files.write(nameOf(n), page.subarray(0, 0), false)),
  stat: (files, count) => each(count, n => files.stat(nameOf(n))),
  rename: (files, count) => each(count, n => files.rename(nameOf(n), movedOf(n))),
  remove: (files, count) => each(count, n => files.remove(movedOf(n))),
  synced(files, count) {
    each(count, n => files.write(nameOf(n), page, true));
    each(count, n => files.remove(nameOf(n)));
  },
  fill: files => files.write('random', new Uint8Array(BLOCKS * BLOCK), true),
  mix(files, count) {
    const file = files.open('random');
    const into = new Uint8Array(BLOCK);
    let state = 1;
    // Only the upper bits are random: the lower 12 come again after 4096 numbers, which is each block once in a fixed order.
    const random = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    let written = 0;
    each(count, () => {
      const position = Math.floor(random() * BLOCKS) * BLOCK;
      if (random() < READS) file.read(into, position);
      else {
        file.write(page, position);
        if (++written % WRITES_A_SYNC === 0) file.sync();
      }
    });
    file.close();
  },
};
