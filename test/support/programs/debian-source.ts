// The sources of a Debian package, unpacked and kept.
import { fetchDebianSource, NoDebianSources, type SourcePackage } from '../../../tools/ext4/debian-source.ts';
import { cachedBuild } from '../cached-build.ts';
import { Unavailable } from './unavailable.ts';

/** The directory with the sources. The error of a failed download says what apt said. */
export async function debianSource(source: SourcePackage): Promise<string> {
  return cachedBuild(`${source.name}-${source.version}-source`, out =>
    fetchDebianSource(source, out).catch(error => {
      throw error instanceof NoDebianSources ? new Unavailable(error.message) : error;
    }),
  );
}
