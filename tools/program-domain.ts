// The domain of `xl run`: its config, and what its root file system runs first, from the command line.

import { basename, resolve } from 'node:path';
import { type DomainConfig, type InitConfig, type InitMount, type P9Config, threadFile } from '#pvbus';
import { readConfig } from './config/read-config.ts';
import { ConfigError } from './config/settings.ts';
import type { ValidateOptions } from './config/validate.ts';

export interface ProgramOptions {
  readonly file: string;
  readonly args: readonly string[];
  readonly name: string | undefined;
  readonly memory: string | undefined;
  readonly vcpus: string | undefined;
  /** FILE[,FORMAT] */
  readonly disks: readonly string[];
  /** Where they are mounted, in the order of the disks; the rest has names of its own. */
  readonly mounts: readonly string[];
  /** HOST:GUEST[:ro] */
  readonly volumes: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly publish: readonly string[];
  /** The terminal's kind, where there is one. */
  readonly term: string | undefined;
}

export interface ProgramDomain {
  readonly config: DomainConfig;
  readonly program: InitConfig;
}

const KERNEL = threadFile('domu-kernel', new URL('.', import.meta.url).href).pathname;
const MEMORY_MIB = '256';
/** As many folders as a domain can share. */
const MAX_VOLUMES = 16;
const FORMATS = ['raw', 'qcow', 'qcow2', 'vhd', 'qed'];

/** Throws ConfigError. */
export function programDomain(asked: ProgramOptions, options: ValidateOptions): ProgramDomain {
  const { file, args } = asked;
  const isProgram = file.endsWith('.wasm');
  const own = basename(file, '.wasm');
  const name = asked.name ?? `run-${Buffer.from(options.random(6)).toString('hex')}`;
  const vcpus = number('vcpus', asked.vcpus ?? '1');
  const disks = asked.disks.map(diskOf);
  const volumes = asked.volumes.map((text, i) => volumeOf(text, i, options.cwd));
  if (volumes.length > MAX_VOLUMES) throw new ConfigError(`--volume: at most ${MAX_VOLUMES}`);
  const lines = [
    `name=${quoted(name)}`,
    `kernel=${quoted(KERNEL)}`,
    `ramdisk=${quoted(resolve(options.cwd, file))}`,
    `memory=${number('memory', asked.memory ?? MEMORY_MIB)}`,
    `vcpus=${vcpus}`,
    `disk=[${disks.map(({ spec }) => quoted(spec)).join(',')}]`,
    ...(asked.publish.length > 0 ? [`pvcalls=[${quoted(asked.publish.map(listenOf).join(','))}]`] : []),
    'on_poweroff="destroy"',
    'on_reboot="destroy"',
    'on_crash="destroy"',
  ];
  const config = readConfig(Buffer.from(`${lines.join('\n')}\n`), 'xl run', [], options);
  const env = {
    ...{ PATH: '/bin:/usr/bin', HOME: '/' },
    ...(asked.term !== undefined && { TERM: asked.term }),
    ...Object.fromEntries(asked.env.map(variable)),
  };
  const argv = isProgram ? [own, ...args] : args.length > 0 ? [...args] : ['sh'];
  const ofDisks = disks.map(({ disk }, i): InitMount => {
    return { disk, path: mountPoint(asked.mounts[i], i), type: null, readOnly: false };
  });
  const mounts = [...ofDisks, ...volumes.map(({ mount }) => mount)];
  return {
    config: { ...config, p9: volumes.map(({ folder }) => folder) },
    program: { argv, env, cwd: asked.cwd ?? null, mounts, stdio: null },
  };
}

function diskOf(text: string, i: number): { spec: string; disk: string } {
  const [, file, format] = /^(.*?)(?:,([a-z0-9]+))?$/s.exec(text) ?? [];
  if (!file) throw new ConfigError(`--disk ${text}: no file`);
  if (format !== undefined && !FORMATS.includes(format))
    throw new ConfigError(`--disk ${text}: the format is none of ${FORMATS.join(', ')}`);
  const disk = `xvd${String.fromCharCode(97 + i)}`;
  return { spec: `format=${format ?? 'raw'},vdev=${disk},access=rw,target=${file}`, disk };
}
function volumeOf(text: string, i: number, cwd: string): { folder: P9Config; mount: InitMount } {
  const [, host, path, how] = /^(.+?):(\/[^:]*)(?::(ro|rw))?$/s.exec(text) ?? [];
  if (host === undefined || path === undefined)
    throw new ConfigError(`--volume ${text}: not HOST:GUEST or HOST:GUEST:ro, where GUEST is an absolute path`);
  if (path.split('/').every(name => name === '' || name === '.'))
    throw new ConfigError(`--volume ${text}: the root is the program's`);
  const tag = `volume${i}`;
  const readOnly = how === 'ro';
  return {
    folder: {
      ...{ devid: i, backend: null, tag, path: resolve(cwd, host), security_model: 'none' },
      read_only: readOnly ? true : null,
    },
    mount: { disk: tag, path, type: '9p', readOnly },
  };
}
function mountPoint(path: string | undefined, i: number): string {
  if (path === undefined) return i === 0 ? '/mnt' : `/mnt${i + 1}`;
  if (!path.startsWith('/')) throw new ConfigError(`--mount ${path}: no absolute path`);
  return path;
}
function listenOf(text: string): string {
  if (!/^[0-9]+:[0-9]+$/.test(text)) throw new ConfigError(`--publish ${text}: not HOST:GUEST`);
  return `listen=${text}`;
}
function variable(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new ConfigError(`--env ${text}: not NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}
function number(option: string, text: string): string {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new ConfigError(`--${option} ${text}: not a number`);
  return text;
}
/** A string of an xl.cfg. */
function quoted(text: string): string {
  if (/["\n\\]/.test(text)) throw new ConfigError(`${text}: no quotes, backslashes or newlines here`);
  return `"${text}"`;
}
