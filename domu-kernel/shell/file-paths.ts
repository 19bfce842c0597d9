// What the utilities ask of a path.
import { XenError } from '#pvbus';
import type { FileType, Vnode } from '../fs/file-system.ts';
import { attempt, type Waiting } from '../process/transfer.ts';
import { fromCwd } from './paths.ts';
import type { Call } from './utility.ts';

export function pathOf({ self }: Call, word: string): string {
  if (word === '') throw new XenError('ENOENT', "'': no such file or directory");
  return fromCwd(self.cwd, word);
}
export function wanted(args: readonly string[], least: number): void {
  if (args.length < least)
    throw new XenError('EINVAL', least === 1 ? 'the name of a file is missing' : 'two names are needed');
}
/** The type of what is at a path; undefined when nothing is. */
export function* typeAt(
  { system }: Call,
  path: string,
  follow: 'always' | 'never' = 'always',
): Waiting<FileType | undefined> {
  return yield* attempt(() => {
    const located = system.mounts.locate(path, { follow });
    try {
      return located.vnode?.type;
    } finally {
      located.release();
    }
  });
}
export function withVnode<T>({ system }: Call, path: string, use: (vnode: Vnode) => T): T {
  const vnode = system.mounts.find(path);
  try {
    return use(vnode);
  } finally {
    vnode.release();
  }
}
/** Whether both lead to the same file, or, with `names`, are the same name of the same directory. */
export function* isSame({ system }: Call, one: string, other: string, names = false): Waiting<boolean> {
  return yield* attempt(() => {
    const first = system.mounts.locate(one, { follow: names ? 'never' : 'always' });
    try {
      const second = system.mounts.locate(other, { follow: names ? 'never' : 'always' });
      try {
        if (names) return first.directory === second.directory && first.name === second.name;
        return first.vnode !== undefined && first.vnode === second.vnode;
      } finally {
        second.release();
      }
    } finally {
      first.release();
    }
  });
}
