// One entry of `p9 = [...]`: a folder of the host's. Xen: xl.cfg(5).
import type { P9Config } from '#pvbus';
import { ConfigError } from './settings.ts';

/** `tag=NAME,path=FOLDER,security_model=none`, all three, and `backend=DOM`. */
export function parseP9Spec(spec: string, devid: number): P9Config {
  const given = new Map<string, string>();
  for (const raw of spec.split(',')) {
    const token = raw.trim();
    const [, key, value] = /^(tag|path|security_model|backend)=(.*)$/.exec(token) ?? [];
    if (key === undefined) throw new ConfigError(`Unknown string \`${token}' in p9 spec`);
    given.set(key, value!);
  }
  const [tag, path, security_model] = ['tag', 'path', 'security_model'].map(key => given.get(key));
  if (!tag || !path || !security_model) throw new ConfigError('p9 spec missing required field!');
  return { devid, backend: given.get('backend') ?? null, tag, path, security_model, read_only: null };
}
