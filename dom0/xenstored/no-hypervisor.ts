// The daemon by itself, with clients of dom0 only: for programs that need a xenstore and no domains.
import { XenError } from '#pvbus';
import type { DomainDoor } from './domains.ts';

const nobody = (): never => {
  throw new XenError('ENOENT', 'there is no hypervisor');
};

export const noHypervisor: DomainDoor = {
  mapStorePage: nobody,
  unmapStorePage: () => {},
  bind: nobody,
  unbind: () => {},
  notify: () => {},
  onEvent: () => {},
  domainInfo: () => undefined,
  adopt: () => undefined,
  dropUnadopted: () => {},
  onDomExc: () => {},
};
