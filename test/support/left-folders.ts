// Before any test: what runs that were killed have left.
import { removeLeftFolders } from './own-folders.ts';

export default function setup(): void {
  removeLeftFolders();
}
