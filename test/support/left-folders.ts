// Before any test: what runs that were killed have left.
import { tmpdir } from 'node:os';
import { memoryFolder, removeLeftFolders } from './own-folders.ts';

export default function setup(): void {
  for (const dir of new Set([tmpdir(), memoryFolder()])) removeLeftFolders(dir);
}
