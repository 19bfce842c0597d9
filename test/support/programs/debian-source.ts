// The sources of a Debian package as their authors published them, through apt with a configuration of its own:
// what the machine has in /etc/apt is not touched.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cachedBuild } from '../cached-build.ts';
import { Unavailable } from './unavailable.ts';

const run = promisify(execFile);
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const MIRROR = 'http://deb.debian.org/debian';

export interface SourcePackage {
  readonly name: string;
  readonly version: string;
  readonly suite: 'bookworm' | 'trixie';
}

/** The directory with the sources. The error of a failed download says what apt said. */
export async function debianSource({ name, version, suite }: SourcePackage): Promise<string> {
  if (!existsSync(KEYRING)) throw new Unavailable('no Debian sources here: no debian-archive-keyring');
  return cachedBuild(`${name}-${version}-source`, async out => {
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
      await run('apt-get', [...options, 'update']).catch(error => {
        throw new Unavailable(`no Debian sources here: ${error.stderr}`);
      });
      await run('apt-get', [...options, 'source', '--download-only', name], { cwd: apt });
      const archive = readdirSync(apt).find(file => file.startsWith(`${name}_${version}.orig.tar.`));
      if (archive === undefined) throw new Error(`Debian ${suite} has no ${name} ${version} any more`);
      await run('tar', ['-xf', join(apt, archive), '-C', out, '--strip-components=1']);
    } finally {
      rmSync(apt, { recursive: true, force: true });
    }
  });
}
