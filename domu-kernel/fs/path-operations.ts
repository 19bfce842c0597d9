// What a program does to names, by paths: mkdir, unlink, rmdir, rename, link, symlink, readlink.
import { XenError } from '#pvbus';
import type { Vnode } from './file-system.ts';
import type { Located, MountTable } from './mount-table.ts';

/** A path, and where it begins: at the root of everything, or in a directory that it does not leave. */
export interface At {
  readonly path: string;
  readonly beneath?: Vnode | undefined;
}

/** Calls `act` with where the path leads; the last name is not followed, and is a name. */
function atName<T>(
  mounts: MountTable,
  what: string,
  { path, beneath }: At,
  nameless: string,
  act: (l: Located) => T,
): T {
  const located = mounts.locate(path, { follow: 'never', beneath });
  try {
    if (located.name === '') throw new XenError(nameless, `${what} ${path}: there is no name at its end`);
    return act(located);
  } finally {
    located.release();
  }
}
function existing(mounts: MountTable, what: string, located: Located): Vnode {
  const { vnode, wantsDirectory } = located;
  if (!vnode) throw new XenError('ENOENT', `${what}: no such file or directory`);
  if (wantsDirectory && vnode.type !== 'directory') throw new XenError('ENOTDIR', `${what}: it is no directory`);
  if (mounts.isMountPoint(vnode)) throw new XenError('EBUSY', `${what}: something is mounted there`);
  return vnode;
}
function checkFree(what: string, { vnode, wantsDirectory }: Located): void {
  if (vnode) throw new XenError('EEXIST', `${what}: it exists already`);
  if (wantsDirectory) throw new XenError('ENOENT', `${what}: no such directory`);
}

export function makeDirectory(mounts: MountTable, at: At): void {
  atName(mounts, 'mkdir', at, 'EEXIST', ({ directory, name, vnode }) => {
    if (vnode) throw new XenError('EEXIST', `mkdir ${at.path}: it exists already`);
    directory.create(name, 'directory').release();
  });
}
export function removeFile(mounts: MountTable, at: At): void {
  atName(mounts, 'unlink', at, 'EISDIR', located => {
    const what = `unlink ${at.path}`;
    if (located.vnode?.type === 'directory') throw new XenError('EISDIR', `${what}: it is a directory`);
    existing(mounts, what, located);
    located.letGo();
    located.directory.unlink(located.name);
  });
}
export function removeDirectory(mounts: MountTable, at: At): void {
  // As rmdir(2): '.' is EINVAL, '..' is not empty, and the root is busy.
  const last = at.path.replace(/\/+$/, '').split('/').pop();
  const nameless = last === '.' ? 'EINVAL' : last === '..' ? 'ENOTEMPTY' : 'EBUSY';
  atName(mounts, 'rmdir', at, nameless, located => {
    const what = `rmdir ${at.path}`;
    if (existing(mounts, what, located).type !== 'directory') {
      throw new XenError('ENOTDIR', `${what}: it is no directory`);
    }
    located.letGo();
    located.directory.rmdir(located.name);
  });
}
export function rename(mounts: MountTable, from: At, to: At): void {
  const what = `rename ${from.path} to ${to.path}`;
  atName(mounts, 'rename', from, 'EBUSY', source =>
    atName(mounts, 'rename', to, 'EBUSY', target => {
      const vnode = existing(mounts, what, source);
      if (target.wantsDirectory && vnode.type !== 'directory') {
        throw new XenError('ENOTDIR', `${what}: it is no directory`);
      }
      if (target.vnode && mounts.isMountPoint(target.vnode)) {
        throw new XenError('EBUSY', `${what}: something is mounted there`);
      }
      if (source.directory.fs !== target.directory.fs) throw new XenError('EXDEV', `${what}: another file system`);
      source.letGo();
      target.letGo();
      source.directory.rename(source.name, target.directory, target.name);
    }),
  );
}
/** `follow`: what a symlink at the end of `from` leads to gets the name, not the symlink. */
export function link(mounts: MountTable, from: At, to: At, follow: boolean): void {
  const file = mounts.find(from.path, { follow: follow ? 'always' : 'slash', beneath: from.beneath });
  try {
    atName(mounts, 'link', to, 'EEXIST', located => {
      const what = `link ${from.path} to ${to.path}`;
      checkFree(what, located);
      if (file.fs !== located.directory.fs) throw new XenError('EXDEV', `${what}: another file system`);
      located.directory.link(located.name, file);
    });
  } finally {
    file.release();
  }
}
export function symlink(mounts: MountTable, target: string, at: At): void {
  atName(mounts, 'symlink', at, 'EEXIST', located => {
    checkFree(`symlink ${at.path}`, located);
    located.directory.symlink(located.name, target).release();
  });
}
export function readlink(mounts: MountTable, { path, beneath }: At): string {
  const vnode = mounts.find(path, { follow: 'slash', beneath });
  try {
    if (vnode.type !== 'symlink') throw new XenError('EINVAL', `readlink ${path}: it is no symlink`);
    return vnode.readlink();
  } finally {
    vnode.release();
  }
}
