// The library: what `import ... from 'xenolith'` gives to a program on the host. Its types are in xenolith.d.ts, which
// is written by hand, held to what is here by the last line, and what people may rely on.

import { fileURLToPath } from 'node:url';
import { threadFile, XenError } from '#pvbus';
import { Host } from './host.ts';
import type * as declared from './xenolith.d.ts';

/** The kernel of guest programs, for the key `kernel`. */
const guestKernel = fileURLToPath(threadFile('domu-kernel', import.meta.url));

export { guestKernel, Host, XenError };

({ Host, XenError, guestKernel }) satisfies typeof declared;
