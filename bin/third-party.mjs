// The licences of packages that are in our built files, as they ask to be passed on.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const LICENCE = /^(licen[cs]e|copying|notice)(\.(md|txt))?$/i;

/** One text; `inputs` are absolute paths of what the bundles hold. Throws where a package names no licence. */
export function thirdPartyLicences(inputs) {
  const folders = new Set(inputs.map(packageFolder).filter(Boolean));
  const packages = [...folders].map(folder => {
    const { name, version, license, author, repository } = JSON.parse(
      readFileSync(join(folder, 'package.json'), 'utf8'),
    );
    const files = readdirSync(folder).filter(file => LICENCE.test(file));
    if (license === undefined) throw new Error(`${name} ${version} is in dist/ and names no licence`);
    const by = [author?.name ?? author, repository?.url ?? repository].filter(Boolean).join(', ');
    const bare = `It comes without a text of its licence; its package.json names ${license}${by && `, ${by}`}.`;
    const texts = files.sort().map(file => readFileSync(join(folder, file), 'utf8').trim());
    return { title: `${name} ${version} (${license})`, text: texts.join('\n\n') || bare };
  });
  packages.sort((a, b) => (a.title < b.title ? -1 : 1));
  const parts = packages.map(({ title, text }) => `${'-'.repeat(80)}\n${title}\n\n${text}\n`);
  return `Files of this directory hold parts of the following packages.\n\n${parts.join('\n')}`;
}

/** Where the package of a file is; undefined for a file of our own. */
function packageFolder(path) {
  const [folder] = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path) ?? [];
  return folder;
}
