// Commands of xl that are about something this host does not have. They say so and fail, as they do on a Xen
// without it; the listings print their header, since there is nothing to list.

import { left } from '../columns.ts';
import { CommandFailure, type CommandSpec, type RunCommand } from './command.ts';

const HEADERS: Readonly<Record<string, string>> = {
  'pci-list': 'Vdev Device',
  'usb-list': [left('Devid', 6), left('Type', 12), left('BE', 3), 'state', 'usb-ver', 'ports'].join(' '),
  'vtpm-list': ['Idx', 'BE', left('Uuid', 36), 'handle', 'state', 'evt-ch', left('rref', 5), left('BE-path', 10)].join(
    ' ',
  ),
};
const WHY = {
  passthrough: 'no devices of the machine are passed through to domains here',
  model: 'there is no device model here: domains are paravirtual, without emulated hardware',
  backend: 'there is no backend of this kind here',
  psr: 'Platform Shared Resource features of the processor are out of reach here',
  flask: 'the Flask security module is not part of this hypervisor',
  later: 'saving, restoring and moving domains is not implemented yet',
} as const;

interface Absent {
  readonly name: string;
  readonly usage: string;
  readonly description: string;
  readonly why: keyof typeof WHY;
}

const absent = (why: keyof typeof WHY, ...rows: (readonly [string, string, string])[]): Absent[] =>
  rows.map(([name, usage, description]) => ({ name, usage, description, why }));

const ABSENT: readonly Absent[] = [
  ...absent(
    'passthrough',
    ['pci-attach', '<Domain> <BDF> [Virtual Slot]', 'Insert a new pass-through pci device'],
    ['pci-detach', '<Domain> <BDF>', "Remove a domain's pass-through pci device"],
    ['pci-list', '<Domain>', 'List pass-through pci devices for a domain'],
    ['pci-assignable-add', '<BDF>', 'Make a device assignable for pci-passthru'],
    ['pci-assignable-remove', '[options] <BDF>', 'Remove a device from being assignable'],
    ['pci-assignable-list', '', 'List all the assignable pci devices'],
    [
      'usbctrl-attach',
      '<Domain> [type=pv] [version=<version>] [ports=<number>]',
      'Create a virtual USB controller for a domain',
    ],
    ['usbctrl-detach', '<Domain> <DevId>', 'Remove the virtual USB controller specified by <DevId> for domain'],
    [
      'usbdev-attach',
      '<Domain> hostbus=<busnum> hostaddr=<devnum> [controller=<DevId> [port=<port>]]',
      'Attach a USB device to a domain',
    ],
    ['usbdev-detach', '<Domain> <controller> <port>', 'Detach a USB device from a domain'],
    ['usb-list', '<Domain>', 'List information about all USB controllers and devices for a domain'],
  ),
  ...absent(
    'model',
    ['vncviewer', '[--autopass] <Domain>', "Attach to domain's VNC server."],
    ['cd-insert', '<Domain> <VirtualDevice> <path>', "Insert a cdrom into a guest's cd drive"],
    ['cd-eject', '<Domain> <VirtualDevice>', "Eject a cdrom from a guest's cd drive"],
    ['button-press', '<Domain> <Button>', 'Indicate an ACPI button press to the domain'],
    ['qemu-monitor-command', '<Domain> <Command>', 'Issue a qemu monitor command to the device model of a domain'],
  ),
  ...absent(
    'backend',
    ['vtpm-attach', '<Domain> [uuid=<uuid>] [backend=<domain>]', 'Create a new virtual TPM device'],
    ['vtpm-list', '<Domain(s)>', 'List virtual TPM devices for a domain'],
    ['vtpm-detach', '<Domain> <DevId|uuid>', "Destroy a domain's virtual TPM device"],
    ['vkb-attach', '<Domain> <vkb-spec-component(s)>...', 'Create a new virtual keyboard device'],
    ['vkb-list', '<Domain(s)>', 'List virtual keyboard devices for a domain'],
    ['vkb-detach', '<Domain> <DevId>', "Destroy a domain's virtual keyboard device"],
    [
      'vdispl-attach',
      '<Domain> [backend=<BackDomain>] [be-alloc=<BackAlloc>] [connectors=<Connectors>]',
      'Create a new virtual display device',
    ],
    ['vdispl-list', '<Domain(s)>', 'List virtual display devices for a domain'],
    ['vdispl-detach', '<Domain> <DevId>', "Destroy a domain's virtual display device"],
    ['vsnd-attach', '<Domain> <vsnd-spec-component(s)>...', 'Create a new virtual sound device'],
    ['vsnd-list', '<Domain(s)>', 'List virtual display devices for a domain'],
    ['vsnd-detach', '<Domain> <DevId>', "Destroy a domain's virtual sound device"],
  ),
  ...absent(
    'psr',
    ['psr-hwinfo', '[options]', 'Show hardware information for Platform Shared Resource'],
    ['psr-cmt-attach', '<Domain>', 'Attach Cache Monitoring Technology service to a domain'],
    ['psr-cmt-detach', '<Domain>', 'Detach Cache Monitoring Technology service from a domain'],
    ['psr-cmt-show', '<PSR-CMT-Type> <Domain>', 'Show Cache Monitoring Technology information'],
    ['psr-cat-set', '[options] <Domain> <CBM>', 'Set cache capacity bitmasks(CBM) for a domain'],
    ['psr-cat-show', '[options] <Domain>', 'Show Cache Allocation Technology information'],
    ['psr-mba-set', '[options] <Domain> <THRTL>', 'Set throttling value (THRTL) for a domain'],
    ['psr-mba-show', '<Domain>', 'Show Memory Bandwidth Allocation information'],
  ),
  ...absent(
    'flask',
    ['getenforce', '', 'Returns the current enforcing mode of the Flask Xen security module'],
    ['setenforce', '<1|0|Enforcing|Permissive>', 'Sets the current enforcing mode of the Flask Xen security module'],
    ['loadpolicy', '<policy file>', 'Loads a new policy into the Flask Xen security module'],
  ),
  ...absent(
    'later',
    ['save', '[options] <Domain> <CheckpointFile> [<ConfigFile>]', 'Save a domain state to restore later'],
    ['restore', '[options] [<ConfigFile>] <CheckpointFile>', 'Restore a domain from a saved state'],
    ['migrate', '[options] <Domain> <host>', 'Migrate a domain to another host'],
    ['migrate-receive', '- for internal use only', 'Restore a domain from a saved state'],
    ['remus', '[options] <Domain> [<host>]', 'Enable Remus HA for domain'],
  ),
];

export const ABSENT_COMMANDS: readonly CommandSpec[] = ABSENT.map(({ name, usage, description }) => ({
  name,
  modifies: !name.endsWith('-list') && !name.endsWith('-show') && name !== 'getenforce',
  usage,
  description,
  load: async () => ({ run }),
}));

const run: RunCommand = async (args, context) => {
  const { name } = context.spec;
  if (args.some(arg => arg === '-h' || arg === '--help')) return context.usage(0);
  const header = HEADERS[name];
  if (header !== undefined) {
    context.out(header);
    return 0;
  }
  throw new CommandFailure(`xl ${name}: ${WHY[ABSENT.find(command => command.name === name)!.why]}`);
};
