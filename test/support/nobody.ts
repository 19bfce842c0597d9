// The user who may do nothing, for tests that root runs as somebody else.
import { spawnSync } from 'node:child_process';
import { dist } from './host-view.ts';

export const NOBODY = 65534;

/** Why nothing can be run as that user here: not root, or Node or the build is where only root gets to. */
export function whyNotAsNobody(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  const { status } = spawnSync(process.execPath, [dist('xl.js'), 'help'], { uid: NOBODY, gid: NOBODY });
  return status === 0 ? undefined : 'Node or the build is out of reach of other users';
}
