// console_io(cmd, count, buffer): the hypervisor's own console. Xen: drivers/char/console.c.
import { CONSOLEIO_read, CONSOLEIO_write, XEN_E2BIG, XEN_EFAULT, XEN_ENOSYS, XEN_EPERM } from '#pvbus';
import type { Vcpu } from '../domain.ts';
import { mayCall } from '../privilege.ts';

const INT_MAX = 0x7fffffff;

export class ConsoleIo {
  call(caller: Vcpu, cmd: number, count: number, buffer: number): number {
    const { domain } = caller;
    if (!mayCall('console_io', domain, domain)) return -XEN_EPERM;
    count >>>= 0;
    switch (cmd) {
      case CONSOLEIO_write: {
        if (count === 0) return 0;
        if (!domain.physmap.reachable(buffer, count)) return -XEN_EFAULT;
        const { bytes } = domain.memory;
        for (let i = 0; i < count; i++) domain.console.write(bytes[buffer + i]!);
        return 0;
      }
      case CONSOLEIO_read:
        // Nobody can type at this console, so there is never anything to read.
        return count > INT_MAX ? -XEN_E2BIG : 0;
      default:
        return -XEN_ENOSYS;
    }
  }
}
