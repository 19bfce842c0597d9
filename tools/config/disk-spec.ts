// One entry of `disk = [...]` -> libxl's device_disk fields, as libxlutil reads it.
// Xen: xl-disk-configuration(5).

export const DISK_FORMATS = ['raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty'] as const;
export const DISK_BACKENDS = ['phy', 'tap', 'qdisk', 'standalone'] as const;
export const DISK_SPECIFICATIONS = ['xen', 'virtio'] as const;

/** Names are libxl's (libxl_types.idl, libxl_device_disk); absent is undefined. */
export interface DiskSpec {
  pdev_path?: string;
  vdev?: string;
  format?: (typeof DISK_FORMATS)[number] | undefined;
  backend?: (typeof DISK_BACKENDS)[number] | undefined;
  backend_domname?: string;
  specification?: (typeof DISK_SPECIFICATIONS)[number] | undefined;
  script?: string;
  readwrite: boolean;
  removable: boolean;
  is_cdrom: boolean;
  discard_enable?: boolean;
  direct_io_safe: boolean;
  colo_enable?: boolean;
  colo_host?: string;
  colo_port?: number;
  colo_export?: string;
  active_disk?: string;
  hidden_disk?: string;
}

/** `faults` are libxlutil's texts, without the name of the source before each. */
export type DiskResult = { readonly disk: DiskSpec } | { readonly faults: readonly string[] };

type TextField =
  | 'pdev_path'
  | 'vdev'
  | 'backend_domname'
  | 'script'
  | 'colo_host'
  | 'colo_export'
  | 'active_disk'
  | 'hidden_disk';

const FORMAT_PREFIX = /^(?:raw|qcow2?|vhd):/;
const SCRIPT_PREFIX = /^(?:iscsi|e?nbd|drbd):/;
const IGNORED_PREFIX = /^(?:tap2?|tapdisk|aio|ioemu|file|phy):/;
const UNKNOWN_PREFIX = /^[a-z][a-z0-9]*:(?![a-z0-9])/;
const KNOWN_KEY =
  /^(format|devtype|access|backend|backendtype|specification|vdev|script|colo-host|colo-port|colo-export|active-disk|hidden-disk)=([^,]*),?/;
const FLAG = /^(cdrom|discard|no-discard|direct-io-safe|colo|no-colo)(?:,|$|(?==(?:,|$)))/;
const UNKNOWN_KEY = /^[a-z][-a-z0-9]*=[^,],?/;
const POSITIONAL = /^([^=,]*)(?:,|$)/;

class DiskParser {
  readonly #disk: DiskSpec = { readwrite: true, removable: false, is_cdrom: false, direct_io_safe: false };
  /** An old prefix stands for the format, so the second position is not one. */
  #hadPrefix = false;
  #hadAccess = false;

  readonly faults: string[] = [];

  parse(spec: string): DiskSpec {
    const disk = this.#disk;
    let rest = spec;
    while (rest !== '') rest = this.#parameter(rest.replace(/^[ \t\n]+/, ''));
    if (this.faults.length > 0) return disk;
    if (disk.vdev === undefined) this.#fault('no vdev specified');
    if (disk.is_cdrom) {
      disk.removable = true;
      disk.readwrite = false;
      if (!disk.pdev_path) disk.format = 'empty';
    }
    if (this.faults.length === 0 && disk.pdev_path === undefined && !disk.removable) {
      this.#fault('no target specified (and device not removable)');
    }
    disk.format ??= 'raw';
    return disk;
  }

  /** Takes one parameter off the front; returns what is left. */
  #parameter(rest: string): string {
    const after = (match: string): string => rest.slice(match.length);
    if (rest === '') return '';
    if (rest.startsWith('target=')) {
      this.#text('target', 'pdev_path', rest.slice('target='.length).replace(/,$/, ''));
      return '';
    }
    const key = KNOWN_KEY.exec(rest);
    if (key !== null) {
      this.#key(key[1]!, key[2]!, key[0]);
      return after(key[0]);
    }
    const flag = FLAG.exec(rest);
    if (flag !== null) {
      this.#flag(flag[1]!);
      return after(flag[0]);
    }
    const format = FORMAT_PREFIX.exec(rest)?.[0];
    if (format !== undefined) {
      this.#hadPrefix = true;
      this.#format(format.slice(0, -1));
      return after(format);
    }
    const script = SCRIPT_PREFIX.exec(rest)?.[0];
    if (script !== undefined) {
      this.#hadPrefix = true;
      this.#text('script', 'script', `block-${script.slice(0, -1)}`);
      return after(script);
    }
    const ignored = IGNORED_PREFIX.exec(rest)?.[0];
    if (ignored !== undefined) {
      this.#hadPrefix = true;
      return after(ignored);
    }
    const unknownPrefix = UNKNOWN_PREFIX.exec(rest)?.[0];
    if (unknownPrefix !== undefined) {
      this.#fault('unknown deprecated disk prefix', unknownPrefix);
      return ''; // what it stood for decides how the rest reads
    }
    const unknownKey = UNKNOWN_KEY.exec(rest)?.[0];
    if (unknownKey !== undefined) {
      this.#fault('unknown parameter', unknownKey);
      return after(unknownKey);
    }
    const positional = POSITIONAL.exec(rest);
    if (positional !== null) {
      return this.#positional(positional[1]!) ? after(positional[0]) : '';
    }
    // What is before the '=' was a position of its own; a lone '=' at the end goes unnoticed.
    const at = rest.indexOf('=');
    if (at > 0) {
      return this.#positional(rest.slice(0, at)) ? rest.slice(at) : '';
    }
    if (rest.length > 1) this.#fault('bad disk syntax', rest);
    return '';
  }

  #fault(what: string, near?: string): void {
    this.faults.push(near === undefined ? what : `${what}: near \`${near}'`);
  }

  #key(key: string, value: string, whole: string): void {
    const disk = this.#disk;
    if (key === 'format') this.#format(value);
    else if (key === 'access') this.#access(value);
    else if (key === 'devtype') {
      if (value === 'cdrom' || value === 'disk') disk.is_cdrom = value === 'cdrom';
      else this.#fault('unknown value for type', whole);
    } else if (key === 'backendtype') {
      disk.backend = this.#choice('backend', disk.backend, DISK_BACKENDS, value, 'backendtype');
    } else if (key === 'specification') {
      disk.specification = this.#choice('specification', disk.specification, DISK_SPECIFICATIONS, value);
    } else if (key === 'colo-port') {
      // Xen: atoi, and 0 is no port.
      const port = Number(/^[ \t\n\v\f\r]*([+-]?[0-9]+)/.exec(value)?.[1] ?? 0) | 0;
      if (port !== 0) disk.colo_port = port;
      else this.#fault('unknown value for colo_port', value);
    } else if (key === 'backend') this.#text('backend', 'backend_domname', value);
    else this.#text(key, key.replaceAll('-', '_') as TextField, value); // KNOWN_KEY holds no others
  }

  #flag(flag: string): void {
    const disk = this.#disk;
    if (flag === 'cdrom') disk.is_cdrom = true;
    else if (flag === 'direct-io-safe') disk.direct_io_safe = true;
    else if (flag.endsWith('discard')) disk.discard_enable = flag === 'discard';
    else disk.colo_enable = flag === 'colo';
  }

  /** False when there is no such position; what follows is then not looked at. */
  #positional(value: string): boolean {
    if (this.faults.length > 0) return true; // which position it has is anyone's guess
    const disk = this.#disk;
    if (disk.pdev_path === undefined) this.#text('target', 'pdev_path', value);
    else if (disk.format === undefined && !this.#hadPrefix) {
      if (disk.pdev_path === '' && value.includes(':')) {
        // `,hdc:cdrom`: an empty drive needs no format.
        disk.format = 'empty';
        this.#vdev(value);
      } else this.#format(value);
    } else if (disk.vdev === undefined) this.#vdev(value);
    else if (!this.#hadAccess) {
      this.#access(value);
      this.#hadAccess = true;
    } else {
      this.#fault('too many positional parameters', value);
      return false;
    }
    return true;
  }

  #vdev(value: string): void {
    const colon = value.lastIndexOf(':');
    this.#text('vdev', 'vdev', colon < 0 ? value : value.slice(0, colon));
    if (colon < 0) return;
    const type = value.slice(colon + 1);
    if (type === 'cdrom' || type === 'disk') this.#disk.is_cdrom = type === 'cdrom';
    else this.#fault('unknown deprecated type', type);
  }

  #format(value: string): void {
    const disk = this.#disk;
    disk.format = this.#choice('format', disk.format, DISK_FORMATS, value);
  }

  #access(value: string): void {
    if (['', 'r', 'ro', 'w', 'rw'].includes(value)) this.#disk.readwrite = !value.startsWith('r') || value === 'rw';
    else this.#fault('unknown value for access', value);
  }

  #text(name: string, field: TextField, value: string): void {
    if (this.#disk[field]) this.#fault(`${name} respecified`, value);
    else this.#disk[field] = value;
  }

  /** The value the field has afterwards. */
  #choice<T extends string>(
    name: string,
    old: T | undefined,
    all: readonly T[],
    value: string,
    shown = name,
  ): T | undefined {
    const chosen = all.find(candidate => candidate === (name === 'format' ? value || 'raw' : value));
    if (chosen === undefined) this.#fault(`unknown value for ${shown}`, value);
    else if (old !== undefined && old !== chosen) this.#fault(`${name} respecified`, value);
    else return chosen;
    return old;
  }
}

export function parseDiskSpec(spec: string): DiskResult {
  const parser = new DiskParser();
  const disk = parser.parse(spec);
  if (parser.faults.length === 0) return { disk };
  return { faults: parser.faults.map(fault => `config parsing error in disk specification: ${fault} in \`${spec}'`) };
}
