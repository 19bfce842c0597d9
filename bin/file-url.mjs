// What `import.meta.url` is in dist/cli, whose files are CommonJS: as if they were in dist.
import { pathToFileURL } from 'node:url';

export const fileUrl = pathToFileURL(`${__dirname.replace(/cli$/, '')}cli.js`).href;
