// FatFs' result codes as errno names: the only place that knows both.

export const FR_OK = 0;
export const FR_NO_FILE = 4;
export const FR_NO_PATH = 5;
export const FR_DENIED = 7;
export const FR_EXIST = 8;

const FRESULT: readonly (readonly [code: string, reason: string])[] = [
  ['EOK', ''],
  ['EIO', 'the disk failed'],
  ['EIO', 'the volume is damaged'],
  ['EIO', 'the disk is not ready'],
  ['ENOENT', 'no such file'],
  ['ENOENT', 'no such directory'],
  ['EINVAL', 'FAT allows no such name'],
  ['EACCES', 'denied'],
  ['EEXIST', 'it exists already'],
  ['EBADF', 'the file is no longer valid'],
  ['EROFS', 'the disk is read-only'],
  ['ENODEV', 'no such volume'],
  ['ENODEV', 'nothing is mounted'],
  ['EINVAL', 'no FAT file system there'],
  ['EINVAL', 'the disk cannot be formatted so'],
  ['EIO', 'timed out'],
  ['EBUSY', 'the file is in use'],
  ['ENOMEM', 'no memory for the file system'],
  ['EMFILE', 'too many open files'],
  ['EINVAL', 'bad parameter'],
];

/** errno name and reason of an FRESULT. */
export const fatError = (result: number): readonly [code: string, reason: string] =>
  FRESULT[result] ?? ['EIO', `unknown result ${result}`];
