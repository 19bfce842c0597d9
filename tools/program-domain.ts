// The domain of `xl run`: its config, and what its root file system runs first, from the command line.

import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
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
  /** FILE[,FORMAT][,ro] */
  readonly disks: readonly string[];
  /** Where they are mounted, in the order of the disks; the rest has names of its own. */
  readonly mounts: readonly string[];
  /** HOST:GUEST[:ro] */
  readonly volumes: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly publish: readonly string[];
  /** The bridges of its interfaces. */
  readonly nets: readonly string[];
  /** Nothing is there but what these options say. */
  readonly bare: boolean;
  /** Where there is one. */
  readonly terminal:
    | { readonly kind: string | undefined; readonly columns?: number; readonly rows?: number }
    | undefined;
}

export interface ProgramDomain {
  readonly config: DomainConfig;
  readonly program: InitConfig;
}

const KERNEL = fileURLToPath(threadFile('domu-kernel', new URL('.', import.meta.url).href));
const MEMORY_MIB = '256';
/** As many folders as a domain can share. */
const MAX_VOLUMES = 16;
const FORMATS = ['raw', 'qcow', 'qcow2', 'vhd', 'qed'];

/** Throws ConfigError. */
export function programDomain(asked: ProgramOptions, options: ValidateOptions): ProgramDomain {
  const { file, args } = asked;
  if (asked.cwd === '') throw new ConfigError("--workdir '': no directory");
  const isProgram = file.endsWith('.wasm');
  const own = basename(file, '.wasm');
  const name = asked.name ?? `run-${Buffer.from(options.random(6)).toString('hex')}`;
  const published = asked.publish.map(publishedOf);
  const given = published.filter(one => one.given).map(({ guest }) => Number(guest));
  const vcpus = number('vcpus', asked.vcpus ?? '1');
  const disks = asked.disks.map(diskOf);
  // A program's sockets are those of its interfaces, where it has any: a port of the host would never hear of them.
  if (asked.nets.length > 0 && published.length > 0)
    throw new ConfigError('--net and --publish: the program has the sockets of one of them');
  const volumes = asked.volumes.map((text, i) => volumeOf(text, i, options.cwd, asked.bare));
  if (volumes.length > MAX_VOLUMES) throw new ConfigError(`--volume: at most ${MAX_VOLUMES}`);
  const lines = [
    `name=${quoted(name)}`,
    `kernel=${quoted(KERNEL)}`,
    `ramdisk=${quoted(resolve(options.cwd, file))}`,
    `memory=${number('memory', asked.memory ?? MEMORY_MIB)}`,
    `vcpus=${vcpus}`,
    `disk=[${disks.map(({ spec }) => quoted(spec)).join(',')}]`,
    ...(published.length > 0 ? [`pvcalls=[${quoted(published.map(listenOf).join(','))}]`] : []),
    ...(asked.nets.length === 0 ? [] : [`vif=[${asked.nets.map(vifOf)}]`, 'cmdline="ip=dhcp"']),
    'on_poweroff="destroy"',
    'on_reboot="destroy"',
    'on_crash="destroy"',
  ];
  const config = readConfig(Buffer.from(`${lines.join('\n')}\n`), 'xl run', [], options);
  const env = { ...(asked.bare ? {} : surroundings(asked)), ...Object.fromEntries(asked.env.map(variable)) };
  const argv = isProgram ? [own, ...args] : args.length > 0 ? [...args] : ['sh'];
  const ofDisks = disks.map(({ disk, readOnly }, i): InitMount => {
    return { disk, path: mountPoint(asked.mounts[i], i), type: null, readOnly };
  });
  const mounts = [...ofDisks, ...volumes.map(({ mount }) => mount)];
  return {
    config: { ...config, p9: volumes.map(({ folder }) => folder) },
    program: {
      ...{ argv, env, cwd: asked.cwd ?? null, mounts, stdio: null },
      listen: given.length > 0 ? given : null,
      directories: asked.bare ? volumes.map(({ given, mount }) => ({ name: given, path: mount.path })) : null,
    },
  };
}
/** Of a terminal its kind, and its size as it is now. */
function surroundings({ terminal }: ProgramOptions): Record<string, string> {
  const { kind, columns, rows } = terminal ?? {};
  return {
    ...{ PATH: '/bin:/usr/bin', HOME: '/' },
    ...(kind !== undefined && { TERM: kind }),
    ...(columns !== undefined && { COLUMNS: String(columns) }),
    ...(rows !== undefined && { LINES: String(rows) }),
  };
}

function diskOf(text: string, i: number): { spec: string; disk: string; readOnly: boolean } {
  const readOnly = text.endsWith(',ro');
  const [, file, format] = /^(.*?)(?:,([a-z0-9]+))?$/s.exec(readOnly ? text.slice(0, -',ro'.length) : text) ?? [];
  if (!file) throw new ConfigError(`--disk ${text}: no file`);
  if (format !== undefined && !FORMATS.includes(format))
    throw new ConfigError(`--disk ${text}: the format is none of ${FORMATS.join(', ')}`);
  const disk = `xvd${String.fromCharCode(97 + i)}`;
  return {
    spec: `format=${format ?? 'raw'},vdev=${disk},access=${readOnly ? 'r' : 'rw'},target=${file}`,
    disk,
    readOnly,
  };
}
interface Volume {
  readonly folder: P9Config;
  readonly mount: InitMount;
  /** What a bare program finds it by. */
  readonly given: string;
}
function volumeOf(text: string, i: number, cwd: string, bare: boolean): Volume {
  const [, host, given, how] = /^(.+?):([^:]+?)(?::(ro|rw))?$/s.exec(text) ?? [];
  if (host === undefined || given === undefined || !(bare || given.startsWith('/')))
    throw new ConfigError(
      `--volume ${text}: not HOST:GUEST or HOST:GUEST:ro${bare ? '' : ', where GUEST is an absolute path'}`,
    );
  if (!bare && given.split('/').every(name => name === '' || name === '.'))
    throw new ConfigError(`--volume ${text}: the root is the program's`);
  const tag = `volume${i}`;
  const readOnly = how === 'ro';
  return {
    folder: {
      ...{ devid: i, backend: null, tag, path: resolve(cwd, host), security_model: 'none' },
      read_only: readOnly ? true : null,
    },
    mount: { disk: tag, path: bare ? `/${tag}` : given, type: '9p', readOnly },
    given,
  };
}
function mountPoint(path: string | undefined, i: number): string {
  if (path === undefined) return i === 0 ? '/mnt' : `/mnt${i + 1}`;
  if (!path.startsWith('/')) throw new ConfigError(`--mount ${path}: no absolute path`);
  return path;
}
interface Published {
  readonly host: string;
  readonly guest: string;
  /** It is listened on before the program runs, which has a descriptor of it. */
  readonly given: boolean;
}
function publishedOf(text: string): Published {
  const [, host = '', guest = ''] = /^([0-9]+):([0-9]+|fd)$/.exec(text) ?? [];
  const given = guest === 'fd';
  if (guest === '') throw new ConfigError(`--publish ${text}: neither HOST:GUEST nor HOST:fd`);
  if (given && Number(host) === 0) throw new ConfigError(`--publish ${text}: a port of the host has to be said`);
  return { host, guest: given ? host : guest, given };
}
const listenOf = ({ host, guest }: Published): string => `listen=${host}:${guest}`;
function vifOf(bridge: string): string {
  if (!/^[^\s,=]+$/.test(bridge)) throw new ConfigError(`--net ${bridge}: no bridge has this name`);
  return quoted(`bridge=${bridge}`);
}
function variable(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new ConfigError(`--env ${text}: not NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}
function number(option: string, text: string): string {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new ConfigError(`--${option} ${text}: expected a whole number from 1 on`);
  return text;
}
/** A string of an xl.cfg. */
function quoted(text: string): string {
  if (/["\n\\]/.test(text)) throw new ConfigError(`${text}: no quotes, backslashes or newlines here`);
  return `"${text}"`;
}
