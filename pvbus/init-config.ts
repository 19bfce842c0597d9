// /etc/init.json of a root file system in memory: which program the guest runs first, and with what. Who makes the
// domain writes it (ramdisk="prog.wasm", xl run), the guest's init reads it. All but argv may be absent. When the
// program has ended, its exit status (128 and the signal's number for one that was killed) goes to data/exit-code, and
// the domain powers off.
import { XenError } from './errors.ts';
import { flag, integer, listOf, mapOf, nullable, record, type Shaped, text } from './message-shape.ts';

export const INIT_CONFIG_PATH = '/etc/init.json';
/** Bytes of the file, at most. */
export const MAX_INIT_CONFIG = 1 << 20;

const word = text(1 << 17);
/** A disk of the guest, or a shared folder, that init mounts before the program runs; failing that, the program does not run (exit 125). */
export const initMount = record({
  /** As the guest calls it: xvda; of a folder its tag. */
  disk: text(64),
  /** `9p` for a folder; null: what the disk has. */
  type: nullable(text(16)),
  readOnly: nullable(flag),
  /** Absolute; made when it is not there. */
  path: text(1024),
});
export type InitMount = Shaped<typeof initMount>;

/** A directory that a program is given: what it finds the descriptor by, and where that leads. */
export const givenDirectory = record({ name: text(1024), path: text(1024) });

export const initConfig = record({
  /** argv[0] is the program: a path, or a name that is looked up in PATH. */
  argv: listOf(word, 4096),
  env: mapOf(word, 4096),
  /** Absolute; null: /. */
  cwd: nullable(text(4096)),
  mounts: nullable(listOf(initMount, 64)),
  /**
   * Its descriptors from 3 on, or after those of `listen`; then nothing of init's own is in its environment. null: / and its working directory, and
   * PATH, HOME, TERM and PWD.
   */
  directories: nullable(listOf(givenDirectory, 64)),
  /** Ports that are listened on before it runs: its descriptors from 3 on, those of its directories come after them. */
  listen: nullable(listOf(integer(1, 65_535), 64)),
  /**
   * Descriptors 0, 1 and 2. `console`, or null: the terminal that the console is. Else streams by pvcalls: three ports of
   * 127.0.0.1, each connected to once. They carry the program's bytes as they are; the end of a stream is its half close.
   */
  stdio: nullable(record({ stdin: integer(1, 65_535), stdout: integer(1, 65_535), stderr: integer(1, 65_535) })),
});
export type InitConfig = Shaped<typeof initConfig>;

/** A program of which nothing is said but its arguments. */
export const plainInit = (argv: string[]): InitConfig => ({
  argv,
  env: {},
  cwd: null,
  mounts: null,
  directories: null,
  listen: null,
  stdio: null,
});

/** untrusted: what the file says. Throws EINVAL naming the field. */
export function parseInitConfig(json: string): InitConfig {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new XenError('EINVAL', `${INIT_CONFIG_PATH}: ${(error as Error).message}`);
  }
  return initConfig({ env: {}, ...(typeof value === 'object' ? value : {}) }, INIT_CONFIG_PATH);
}
