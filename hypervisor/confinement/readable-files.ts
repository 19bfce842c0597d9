// What a domain's process has to read before it has a domain, and xenstored: its programs, the libraries they are made of, a
// few files of the system. All of it is public; nothing of the host's user is there.
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { ReadableFile } from '#pvbus';

/** Of the C library, of OpenSSL, which Node does not start without, of clocks. */
const OF_THE_SYSTEM = [
  ...['/etc/ld.so.cache', '/etc/ssl/openssl.cnf', '/etc/pki/tls/openssl.cnf', '/etc/crypto-policies/back-ends'],
  ...['/etc/localtime', '/usr/share/zoneinfo', '/dev/null', '/proc/sys/vm/overcommit_memory', '/proc/meminfo'],
];
const KERNEL_CODE = `domu-kernel.${process.versions.v8}.cache`;
const OF_OURS = ['domain-shell.cjs', 'domain-vcpu.cjs', 'domu-kernel.js', KERNEL_CODE, 'ext4.wasm'];

/** `dist`: the folder of our built files. `tools`: programs that start it. */
export const readableFiles = (dist: string, tools: readonly string[]): ReadableFile[] =>
  filesOfPrograms(
    dist,
    OF_OURS.map(name => join(dist, name)),
    tools,
  );

/** Of Node and of `ours`, which is in `dist`: what is beside them is not. */
export function filesOfPrograms(dist: string, ours: readonly string[], tools: readonly string[]): ReadableFile[] {
  const paths = [
    ...[process.execPath, ...tools],
    ...libraryFolders(),
    ...koffiFolders(),
    ...ours,
    ...above(dist).map(folder => join(folder, 'package.json')),
    ...OF_THE_SYSTEM,
  ];
  return [...new Set(paths.flatMap(realPath))].map(path => ({ path, isDirectory: statSync(path).isDirectory() }));
}

/** Newer versions of Node look for a package.json from a program's folder upwards, and fail where they may not read one. */
const above = (folder: string): string[] => (folder === '/' ? [folder] : [folder, ...above(dirname(folder))]);

/** None where there is no such file. */
function realPath(path: string): string[] {
  try {
    return [realpathSync(path)];
  } catch {
    return [];
  }
}
/** Where the libraries lie that this process is made of: the same Node, the same C library. */
function libraryFolders(): string[] {
  return mappedPrograms()
    .filter(path => /\.so[.0-9]*$/.test(path))
    .map(dirname);
}
/** Its JavaScript and its library are packages of their own. */
function koffiFolders(): string[] {
  const main = createRequire(import.meta.url).resolve('koffi');
  return [main, ...mappedPrograms().filter(path => path.endsWith('.node'))].map(packageOf);
}
/** Files of machine code that this process is made of. */
function mappedPrograms(): string[] {
  const maps = readFileSync('/proc/self/maps', 'utf8').matchAll(/^\S+ r-xp \S+ \S+ \S+ +(\/.*)$/gm);
  return [...maps].map(([, path]) => path!);
}
/** The folder of the package that a file is in. */
function packageOf(file: string): string {
  let folder = dirname(file);
  while (folder !== '/' && !existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder === '/' ? dirname(file) : folder;
}
