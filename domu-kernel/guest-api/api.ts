// The module 'xenolith' for the programs of one kernel.
import { XenError } from '#pvbus';
import type { PvcallsDevice } from '../drivers/pvcallsfront/device.ts';
import type { Kernel } from '../kernel.ts';
import { parseIpv4 } from '../net/address.ts';
import { consoleApi } from './console.ts';
import { disksApi, filesApi } from './files.ts';
import { type HttpParts, httpApi } from './http/server.ts';
import { netApi } from './net.ts';
import { processesApi } from './processes.ts';
import { smpApi } from './smp.ts';
import { clockApi, systemApi } from './system.ts';

export type Xenolith = typeof import('xenolith');

export function guestApi(kernel: Kernel): Xenolith {
  const disks = disksApi(kernel);
  const host = hostApi(kernel);
  const net = netApi(kernel);
  const listen: HttpParts['listen'] = (port, on = kernel.devices.host() ? 'host' : 'net') =>
    on === 'host' ? host.listen(port) : net.listen(port);
  const { clock, timers, console: hvc } = kernel;
  return {
    disks,
    host,
    files: filesApi(kernel, disks),
    net,
    http: httpApi({ clock, timers, listen, log: hvc.log }),
    console: consoleApi(hvc),
    clock: clockApi(kernel),
    system: systemApi(kernel),
    smp: smpApi(kernel),
    processes: processesApi(kernel),
  };
}

function hostApi(kernel: Kernel): Xenolith['host'] {
  const device = (): PvcallsDevice => {
    const found = kernel.devices.host();
    if (found) return found;
    throw new XenError('ENODEV', 'this domain has no sockets of the host: give it pvcalls = [ "listen=8080:80" ]');
  };
  return {
    listen: async (port, options) => device().listen(port, options?.backlog),
    connect: async (port, { address } = {}) => {
      const to = address === undefined ? undefined : parseIpv4(address);
      if (address !== undefined && to === undefined) throw new XenError('EINVAL', `'${address}' is no IPv4 address`);
      return device().connect(port, to);
    },
  };
}
