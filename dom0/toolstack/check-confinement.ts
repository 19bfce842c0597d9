// A domain never runs with fewer layers than its config demands. Every domU of a host has all that the host has, or its
// process ends: so this is known before anything of it is made.
import { type DomainConfig, missingLayers, XenError } from '#pvbus';
import { isOwnDriverDomain } from './driver-domains.ts';

/** `layers`: XENOLITH_LAYER_*, as the hypervisor says. Throws an error that names the config's key. */
export function checkConfinement(config: DomainConfig, layers: () => number): void {
  if (config.confine !== 'strict') return;
  if (isOwnDriverDomain(config))
    throw new XenError('EINVAL', 'confine: a driver domain without a kernel opens its disks, and is not confined');
  const missing = missingLayers(layers());
  if (missing.length === 0) return;
  throw new XenError('EOPNOTSUPP', `confine: this host has no ${missing.join(', ')} (xl doctor says why)`);
}
