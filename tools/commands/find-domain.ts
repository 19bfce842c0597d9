// A domain as the person names it. A number is a domid, whether or not such a domain exists.

import { ERROR_INVAL, XenError } from '#pvbus';
import type { ToolstackClient } from '../toolstack-client.ts';
import { CommandFailure } from './command.ts';

export async function findDomain(client: ToolstackClient, name: string): Promise<number> {
  if (/^[0-9]{1,5}$/.test(name) && Number(name) <= 0x7fef) return Number(name);
  try {
    return (await client.call('domid', { name })).domid;
  } catch (error) {
    if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    throw new CommandFailure(`${name} is an invalid domain identifier (rc=${ERROR_INVAL})`);
  }
}
