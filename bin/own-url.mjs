// What `import.meta.url` is in programs of dist, which are CommonJS.
import { pathToFileURL } from 'node:url';

export const fileUrl = pathToFileURL(__filename).href;
