// Rewrite test/abi/golden/xen-4.17-x86_64.json from the installed headers:
//   npx tsx tools/layouts/update-golden.ts
// Needs gcc and Debian's libxen-dev. Look at the difference before committing it.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { abiTables } from './abi-tables.ts';
import { askGcc, type Golden, whyNoCompiler } from './ask-gcc.ts';

/** Names sorted, one struct or constant per line, so that a difference reads well. */
function format(golden: Golden): string {
  const lines = (entries: Readonly<Record<string, unknown>>): string =>
    Object.keys(entries)
      .sort()
      .map(name => `    ${JSON.stringify(name)}: ${JSON.stringify(entries[name])}`)
      .join(',\n');
  return `{
  "interface_version": ${golden.interface_version},
  "structs": {\n${lines(golden.structs)}\n  },
  "constants": {\n${lines(golden.constants)}\n  },
  "strings": {\n${lines(golden.strings)}\n  },
  "xsd_errors": ${JSON.stringify(golden.xsd_errors)}
}\n`;
}

const reason = whyNoCompiler();
if (reason) {
  console.error(`update-golden: ${reason}`);
  process.exit(1);
}
const file = fileURLToPath(new URL('../../test/abi/golden/xen-4.17-x86_64.json', import.meta.url));
const golden = askGcc(await abiTables());
writeFileSync(file, format(golden));
console.log(
  `${file}: ${Object.keys(golden.structs).length} structs, ${Object.keys(golden.constants).length} constants`,
);
