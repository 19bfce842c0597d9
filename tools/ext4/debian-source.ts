// The sources of a Debian package as their authors published them, through apt with a configuration of its own:
// what the machine has in /etc/apt is not touched.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const MIRROR = 'http://deb.debian.org/debian';

export interface SourcePackage {
  readonly name: string;
  readonly version: string;
  readonly suite: 'bookworm' | 'trixie';
  /** Of the archive; apt has checked Debian's signature anyway. */
  readonly sha256?: string;
}

/** There is nothing to be had from Debian here. */
export class NoDebianSources extends Error {}

/** Unpack them into the directory `out`, which is made. The error of a failed download says what apt said. */
export async function fetchDebianSource(
  { name, version, suite, sha256 }: SourcePackage,
  out: string,
  signal?: AbortSignal,
): Promise<void> {
  if (!existsSync(KEYRING)) throw new NoDebianSources('no Debian sources here: no debian-archive-keyring');
  const apt = `${out}-apt`;
  mkdirSync(join(apt, 'lists', 'partial'), { recursive: true });
  mkdirSync(out);
  try {
    writeFileSync(join(apt, 'list'), `deb-src [signed-by=${KEYRING}] ${MIRROR} ${suite} main\n`);
    const options = [
      ...['-qq', '-o', `Dir::Etc::sourcelist=${apt}/list`, '-o', 'Dir::Etc::sourceparts=/dev/null'],
      ...['-o', `Dir::State::lists=${apt}/lists`, '-o', `Dir::Cache=${apt}`],
      ...['-o', 'APT::Sandbox::User=root'], // its user cannot write here
    ];
    await run('apt-get', [...options, 'update'], { signal }).catch(error => {
      throw new NoDebianSources(`no Debian sources here: ${error.stderr ?? error.message}`);
    });
    await run('apt-get', [...options, 'source', '--download-only', name], { cwd: apt, signal });
    const archive = readdirSync(apt).find(
      file => file.startsWith(`${name}_${version}.orig.tar.`) && !file.endsWith('.asc'),
    );
    if (archive === undefined) throw new Error(`Debian ${suite} has no ${name} ${version} any more`);
    const bytes = readFileSync(join(apt, archive));
    if (sha256 !== undefined && createHash('sha256').update(bytes).digest('hex') !== sha256)
      throw new Error(`${archive} is not the one that this was written for`);
    await run('tar', ['-xf', join(apt, archive), '-C', out, '--strip-components=1'], { signal });
  } finally {
    rmSync(apt, { recursive: true, force: true });
  }
}
