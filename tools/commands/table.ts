// The commands there are, each loaded when it is called: `xl list` should not pay for a YAML reader.

import { ABSENT_COMMANDS } from './absent.ts';
import type { CommandSpec } from './command.ts';

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: 'create',
    modifies: true,
    dryRun: true,
    usage: '<ConfigFile> [options] [vars]',
    description: 'Create a domain from config file <filename>',
    options: `-h                      Print this help.
-p                      Leave the domain paused.
-c                      Attach to the domain's console before it runs.
-f FILE, --defconfig=FILE
                        Read the configuration from FILE.
-q, --quiet             Say nothing but errors.
-n, --dryrun            Print the configuration as JSON and create nothing.
-d                      Print the configuration as JSON as well.
-F                      Stay until the domain is gone for good.
-e                      Let nobody act on the domain's end: it stays as it ended.
-V, -A                  Accepted; there is no VNC display.`,
    load: () => import('./create.ts'),
  },
  {
    name: 'list',
    modifies: false,
    usage: '[options] [Domain]\n',
    description: 'List information about all/some domains',
    options: `-l, --long              Output all VM details
-v, --verbose           Prints out UUIDs and security context
-Z, --context           Prints out security context
-c, --cpupool           Prints the cpupool the domain is in
-n, --numa              Prints out NUMA node affinity`,
    json: true,
    load: () => import('./list.ts'),
  },
  {
    name: 'destroy',
    modifies: true,
    usage: '[options] <Domain>',
    description: 'Terminate a domain immediately',
    options: '-f                      Do not refuse domain 0 beforehand (its toolstack still does).',
    load: () => import('./destroy.ts'),
  },
  {
    name: 'shutdown',
    modifies: true,
    usage: '[options] <-a|Domain>',
    description: 'Issue a shutdown signal to a domain',
    options: `-a, --all               Every domain but domain 0.
-h                      Print this help.
-F                      Accepted; there is no ACPI to fall back to.
-w, --wait              Wait until they have shut down; twice: until they are gone.`,
    load: () => import('./shutdown.ts'),
  },
  {
    name: 'reboot',
    modifies: true,
    usage: '[options] <-a|Domain>',
    description: 'Issue a reboot signal to a domain',
    options: `-a, --all               Every domain but domain 0.
-h                      Print this help.
-F                      Accepted; there is no ACPI to fall back to.
-w, --wait              Wait until they have shut down; twice: until they are gone.`,
    load: () => import('./reboot.ts'),
  },
  {
    name: 'pause',
    modifies: true,
    usage: '<Domain>',
    description: 'Pause execution of a domain',
    load: () => import('./pause.ts'),
  },
  {
    name: 'unpause',
    modifies: true,
    usage: '<Domain>',
    description: 'Unpause a paused domain',
    load: () => import('./unpause.ts'),
  },
  {
    name: 'console',
    modifies: false,
    usage: `[options] <Domain>
-t <type>       console type, pv , serial or vuart
-n <number>     console number`,
    description: "Attach to domain's console",
    load: () => import('./console.ts'),
  },
  {
    name: 'info',
    modifies: false,
    usage: '[options] [field]',
    description: 'Get information about Xen host',
    options: '-n, --numa         List host NUMA topology information',
    json: true,
    load: () => import('./info.ts'),
  },
  {
    name: 'domid',
    modifies: false,
    usage: '<DomainName>',
    description: 'Convert a domain name to domain id',
    json: true,
    load: () => import('./domid.ts'),
  },
  {
    name: 'domname',
    modifies: false,
    usage: '<DomainId>',
    description: 'Convert a domain id to domain name',
    json: true,
    load: () => import('./domname.ts'),
  },
  {
    name: 'vcpu-list',
    modifies: false,
    usage: '[Domain, ...]',
    description: 'List the VCPUs for all/some domains',
    json: true,
    load: () => import('./vcpu-list.ts'),
  },
  {
    name: 'vcpu-pin',
    modifies: true,
    dryRun: true,
    usage: '[option] <Domain> <VCPU|all> <Hard affinity|-|all> <Soft affinity|-|all>',
    description: 'Set which CPUs a VCPU can use',
    options: `-f, --force             Also where the guest has pinned the vCPU itself.
-i, --ignore-global-affinity-masks
                        Also outside the CPUs that vm.cpumask of xl.conf allows.`,
    load: () => import('./vcpu-pin.ts'),
  },
  {
    name: 'sched-credit',
    modifies: true,
    usage: '[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-t TSLICE] [-r RATELIMIT] [-m DELAY]] [-p CPUPOOL]',
    description: 'Get/set credit scheduler parameters',
    options: `-d DOMAIN, --domain=DOMAIN          The domain to show or change.
-w WEIGHT, --weight=WEIGHT          Its share beside others, 1 to 65535.
-c CAP, --cap=CAP                   Its limit in per cent of a CPU, 0 for none.
-s, --schedparam                    Show or change the parameters of a pool.
-t MS, --tslice_ms=MS               The length of a slice.
-m USEC, --migration_delay_us=USEC  How long a vCPU stays where it ran.
-r USEC, --ratelimit_us=USEC        The least time that a vCPU runs.
-p CPUPOOL, --cpupool=CPUPOOL       This pool alone.`,
    json: true,
    load: () => import('./sched-credit.ts'),
  },
  {
    name: 'sched-credit2',
    modifies: true,
    usage: '[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-r RATELIMIT]] [-p CPUPOOL]',
    description: 'Get/set credit2 scheduler parameters',
    options: `-d DOMAIN, --domain=DOMAIN          The domain to show or change.
-w WEIGHT, --weight=WEIGHT          Its share beside others, 1 to 65535.
-c CAP, --cap=CAP                   Its limit in per cent of a CPU, 0 for none.
-s, --schedparam                    Show or change the parameters of a pool.
-r USEC, --ratelimit_us=USEC        The least time that a vCPU runs.
-p CPUPOOL, --cpupool=CPUPOOL       This pool alone.`,
    json: true,
    load: () => import('./sched-credit.ts'),
  },
  {
    name: 'sched-rtds',
    modifies: true,
    usage: '[-d <Domain> [-v[=VCPUID/all]] [-p[=PERIOD]] [-b[=BUDGET]] [-e[=EXTRATIME]]] [-c CPUPOOL]',
    description: 'Get/set rtds scheduler parameters',
    options: `-d DOMAIN, --domain=DOMAIN          The domain to show or change.
-v VCPUID/all, --vcpuid=VCPUID/all  A vCPU of it, or each.
-p PERIOD, --period=PERIOD          In microseconds.
-b BUDGET, --budget=BUDGET          What it has of each period, in microseconds.
-e 0|1, --extratime=0|1             May it use time that nobody has reserved?
-c CPUPOOL, --cpupool=CPUPOOL       This pool alone.`,
    json: true,
    load: () => import('./sched-rtds.ts'),
  },
  {
    name: 'cpupool-create',
    modifies: true,
    dryRun: true,
    usage: '[options] [<ConfigFile>] [vars]',
    description: 'Create a new CPU pool',
    options: `-h                      Print this help.
-f FILE, --defconfig=FILE
                        Read the configuration from FILE.
-n, --dryrun            Print the configuration and create nothing.`,
    load: () => import('./cpupool-create.ts'),
  },
  {
    name: 'cpupool-list',
    modifies: false,
    usage: '[-c|--cpus] [<CPU Pool>]',
    description: 'List CPU pools on host',
    options: `-c, --cpus              Print the CPUs of each.`,
    json: true,
    load: () => import('./cpupool-list.ts'),
  },
  {
    name: 'cpupool-destroy',
    modifies: true,
    usage: '<CPU Pool>',
    description: 'Deactivates a CPU pool',
    load: () => import('./cpupool-change.ts'),
  },
  {
    name: 'cpupool-rename',
    modifies: true,
    usage: '<CPU Pool> <new name>',
    description: 'Renames a CPU pool',
    load: () => import('./cpupool-change.ts'),
  },
  {
    name: 'cpupool-cpu-add',
    modifies: true,
    usage: '<CPU Pool> <CPU nr>|node:<node nr>',
    description: 'Adds a CPU to a CPU pool',
    load: () => import('./cpupool-change.ts'),
  },
  {
    name: 'cpupool-cpu-remove',
    modifies: true,
    usage: '<CPU Pool> <CPU nr>|node:<node nr>',
    description: 'Removes a CPU from a CPU pool',
    load: () => import('./cpupool-change.ts'),
  },
  {
    name: 'cpupool-migrate',
    modifies: true,
    usage: '<Domain> <CPU Pool>',
    description: 'Moves a domain into a CPU pool',
    load: () => import('./cpupool-change.ts'),
  },
  {
    name: 'cpupool-numa-split',
    modifies: true,
    usage: '',
    description: 'Splits up the machine into one CPU pool per NUMA node',
    load: () => import('./cpupool-change.ts'),
  },
  {
    name: 'rename',
    modifies: true,
    usage: '<Domain> <NewDomainName>',
    description: 'Rename a domain',
    load: () => import('./rename.ts'),
  },
  {
    name: 'mem-max',
    modifies: true,
    usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
    description: 'Set the maximum amount reserved for a domain',
    load: () => import('./mem-max.ts'),
  },
  {
    name: 'mem-set',
    modifies: true,
    usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
    description: 'Set the current memory usage for a domain',
    load: () => import('./mem-set.ts'),
  },
  {
    name: 'vcpu-set',
    modifies: true,
    usage: '[option] <Domain> <vCPUs>',
    description: 'Set the number of active VCPUs allowed for the domain',
    options: "-i, --ignore-host  Don't limit the vCPU based on the host CPU count",
    load: () => import('./vcpu-set.ts'),
  },
  {
    name: 'trigger',
    modifies: true,
    usage: '<Domain> <nmi|reset|init|power|sleep|s3resume> [<VCPU>]',
    description: 'Send a trigger to a domain',
    load: () => import('./trigger.ts'),
  },
  {
    name: 'sysrq',
    modifies: true,
    usage: '<Domain> <letter>',
    description: 'Send a sysrq to a domain',
    load: () => import('./sysrq.ts'),
  },
  {
    name: 'vm-list',
    modifies: false,
    usage: '',
    description: 'List guest domains, excluding dom0, stubdoms, etc.',
    json: true,
    load: () => import('./vm-list.ts'),
  },
  {
    name: 'network-attach',
    modifies: true,
    dryRun: true,
    usage:
      '<Domain> [type=<type>] [mac=<mac>] [bridge=<bridge>] [ip=<ip>] [script=<script>] [backend=<BackDomain>] [vifname=<name>] [rate=<rate>] [model=<model>] [accel=<accel>]',
    description: 'Create a new virtual network device',
    load: () => import('./network-attach.ts'),
  },
  {
    name: 'network-detach',
    modifies: true,
    usage: '<Domain> <DevId|mac>',
    description: "Destroy a domain's virtual network device",
    load: () => import('./network-detach.ts'),
  },
  {
    name: 'block-attach',
    modifies: true,
    dryRun: true,
    usage: '<Domain> <disk-spec-component(s)>...',
    description: 'Create a new virtual block device',
    load: () => import('./block-attach.ts'),
  },
  {
    name: 'block-detach',
    modifies: true,
    usage: '[option] <Domain> <DevId>',
    description: "Destroy a domain's virtual block device",
    options: '-f                      Take it away though the domain does not let go of it.',
    load: () => import('./block-detach.ts'),
  },
  {
    name: 'network-list',
    modifies: false,
    usage: '<Domain(s)>',
    description: 'List virtual network interfaces for a domain',
    json: true,
    load: () => import('./network-list.ts'),
  },
  {
    name: 'block-list',
    modifies: false,
    usage: '<Domain(s)>',
    description: 'List virtual block devices for a domain',
    json: true,
    load: () => import('./block-list.ts'),
  },
  {
    name: 'channel-list',
    modifies: false,
    usage: '<Domain(s)>',
    description: 'List virtual channel devices for a domain',
    json: true,
    load: () => import('./channel-list.ts'),
  },
  {
    name: 'sharing',
    modifies: false,
    usage: '[Domain]',
    description: 'Get information about page sharing',
    json: true,
    load: () => import('./sharing.ts'),
  },
  {
    name: 'claims',
    modifies: false,
    usage: '',
    description: 'List outstanding claim information about all domains',
    json: true,
    load: () => import('./claims.ts'),
  },
  {
    name: 'uptime',
    modifies: false,
    usage: '[-s] [Domain]',
    description: 'Print uptime for all/some domains',
    json: true,
    load: () => import('./uptime.ts'),
  },
  {
    name: 'dmesg',
    modifies: false,
    usage: '[-c]',
    description: "Read and/or clear the hypervisor's message buffer",
    options: '  -c                        Clear the buffer after printing it',
    load: () => import('./dmesg.ts'),
  },
  {
    name: 'dump-core',
    modifies: false,
    usage: '<Domain> <filename>',
    description: 'Core dump a domain',
    load: () => import('./dump-core.ts'),
  },
  {
    name: 'config-update',
    modifies: true,
    usage: '<Domain> <ConfigFile> [options] [vars]',
    description: "Update a running domain's saved configuration, used when rebuilding the domain after reboot.",
    options: `-h                      Print this help.
-f FILE, --defconfig=FILE
                        Read the configuration from FILE.
-d                      Print the configuration as JSON as well.`,
    load: () => import('./config-update.ts'),
  },
  {
    name: 'set-parameters',
    modifies: true,
    usage: '<Params>',
    description: 'Set hypervisor parameters',
    load: () => import('./set-parameters.ts'),
  },
  {
    name: 'devd',
    modifies: false,
    usage: '[options]',
    description: 'Daemon that listens for devices and launches backends',
    options: `-F                      Run in the foreground.
-p, --pidfile [FILE]    Write PID to pidfile when daemonizing.`,
    load: () => import('./devd.ts'),
  },
  {
    name: 'top',
    modifies: false,
    usage: '',
    description: 'Monitor a host and the domains in real time',
    load: () => import('./top.ts'),
  },
  {
    name: 'debug-keys',
    modifies: true,
    usage: '<Keys>',
    description: 'Send debug keys to Xen',
    load: () => import('./debug-keys.ts'),
  },
  {
    name: 'lint',
    modifies: false,
    usage: '<ConfigFile> ...',
    description: 'Say what is wrong, or has no effect, in files of xl.cfg',
    options: `-h                      Print this help.
Unknown keys, keys without meaning here, wrong types, and what is wrong in disk, vif and cpus, as FILE:LINE: TEXT.
Exit code 0: nothing. 1: something.`,
    examples: 'xl lint web.cfg\nxl lint /etc/xen/*.cfg',
    load: () => import('./lint.ts'),
  },
  {
    name: 'store',
    modifies: true,
    usage: '<ls|read|write|watch|rm|chmod> [options] ...',
    description: 'Look at the nodes of xenstore, change and watch them',
    options: `ls [-f] [-p] [--json] [Path ...]
                        List all nodes below a path.
read [--json] Path ...
                        Print values.
write [-R] Path Value [Path Value ...]
                        Set values, all or none.
watch [-n Count] [--json] Path ...
                        Print each change with the new value.
rm Path ...
                        Remove nodes and all below them, all or none.
chmod [-r] Path Mode ...
                        Set permissions.
Each prints more with -h. The daemon is that of XENSTORED_PATH, of XENSTORED_RUNDIR, or the host's.`,
    load: () => import('./store.ts'),
  },
  {
    name: 'bridge-port',
    modifies: true,
    usage: '<add|remove|list> [Bridge] [Port]',
    description: 'Join a bridge with an interface of the host, passt, QEMU or the bridge of another host',
    options: `add <Bridge> <Port>     Port is tap:NAME, listen:PATH or connect:PATH of a unix socket.
remove <Bridge> <Port>  Take it away again.
list [Bridge]           List the ports, whether frames pass, and how many did.`,
    json: true,
    examples: `passt --socket /tmp/passt.sock && xl bridge-port add xenbr0 connect:/tmp/passt.sock
ip tuntap add tap0 mode tap user $USER && ip link set tap0 up && xl bridge-port add xenbr0 tap:tap0`,
    load: () => import('./bridge-port.ts'),
  },
  {
    name: 'block-export',
    modifies: true,
    usage: '[-w] <Domain> <DevId> <Socket>',
    description: "Serve a domain's disk to qemu-img, nbdcopy and other clients of NBD, on a unix socket",
    options: `-w, --writable          They may write, which is refused while a domain may.
Ends with the domain, or by Ctrl-C. What a running domain writes meanwhile is read, or not: there are no snapshots.`,
    examples: `xl block-export web xvda /tmp/xvda.sock &
nbdinfo 'nbd+unix:///xvda?socket=/tmp/xvda.sock'
qemu-img convert -O qcow2 'nbd+unix:///xvda?socket=/tmp/xvda.sock' copy.qcow2`,
    load: () => import('./block-export.ts'),
  },
  {
    name: 'capture',
    modifies: false,
    usage: '[options] <Domain[.DevId]> <File>',
    description: "Write what a domain's network interfaces send and receive to a file for tshark and Wireshark",
    options: `-b, --bridge            In place of a domain, a bridge: all that it forwards.
-c NUMBER, --count=NUMBER
                        End after so many frames.
-s SECONDS, --seconds=SECONDS
                        End after so long; else Ctrl-C ends it.
The file is in pcap's format with nanoseconds; - is standard output. Frames with offloads are as the guest has them:
longer than the MTU, their checksums not filled in.`,
    examples: `xl capture web out.pcap && tshark -r out.pcap
xl capture -c 100 web.1 - | tshark -r -
xl capture -s 10 -b xenbr0 all.pcap`,
    load: () => import('./capture.ts'),
  },
  {
    name: 'fault',
    modifies: true,
    usage: '<add|list|remove|run> [options] ...',
    description: 'Have disks, links, events, grants, xenstore, clocks and processes fail on purpose',
    options: `add [-p Plan] [-s Seed] <File | Key=Value ...>
                        Begin a plan, or one fault.
list [--json]           List what is on, and how often it has happened.
remove <all | Plan | Plan:Fault> ...
                        End plans or faults.
run [-s Seed] [--json] File
                        Begin a plan, print what happens for its duration, end it and report.
Each prints more with -h; docs/faults.md has the keys. What happens is in xl events as well.`,
    examples: `xl fault add part=disk domain=web op=write nth=3 error=EIO
xl fault add part=net domain=web op=rx probability=30% drop for=10s
xl fault add part=process process=xenstored after=1s kill
xl fault run examples/faults/bad-day.yaml`,
    load: () => import('./fault.ts'),
  },
  {
    name: 'up',
    modifies: true,
    dryRun: true,
    usage: '[options] <TopologyFile>',
    description: 'Bring up every domain of a topology file',
    options: `-h                      Print this help.
-n, --dry-run           Print what would change, and change nothing: + comes, - goes, ~ is changed while it
                        runs, ! would need --recreate, ± is made anew, = stays.
--recreate              Make domains anew that are to be what they cannot become while they run.
-q, --quiet             Say nothing but errors.
Starts a host and stays until interrupted when none runs; joins the one that does otherwise, and then changes only
what differs: new domains come, those no longer in the file go, memory, vcpus, cpu_weight and cap follow the file.
Exit code 1 when a domain needs --recreate.`,
    examples: 'xl up topology.yaml\nxl up -n topology.yaml\nxl --host lab up topology.yaml',
    load: () => import('./up.ts'),
  },
  {
    name: 'run',
    modifies: true,
    usage: '[options] <File> [arguments]',
    description: 'Run a WASI program in a domain of its own',
    options: `-h                      Print this help.
--name=NAME             Of the domain; else one is made up.
-m MIB, --memory=MIB    Of the domain, 256 by default.
--vcpus=N               1 by default.
-d FILE[,FORMAT][,ro], --disk=FILE[,FORMAT][,ro]
                        A disk image with a file system, mounted at /mnt (the next ones at /mnt2, /mnt3 ...).
--mount=DIR             Where the disks are mounted instead, in their order.
-v HOST:GUEST[:ro], --volume=HOST:GUEST[:ro]
                        A folder of the host, mounted at GUEST; :ro read-only.
-e NAME=VALUE, --env=NAME=VALUE
                        Of the program's environment.
-w DIR, --workdir=DIR   Where it starts, / by default.
--bare                  No environment but what -e says, no directories but those of -v, by the names they have there.
-p HOST:GUEST, --publish=HOST:GUEST
                        A port of the host's loopback that the program may listen on.
--net=BRIDGE            A vif on this bridge, with an address by DHCP; its sockets are that one's. Several: so many vifs. Not with -p.
FILE is a WASI program (.wasm), or an archive (.tar, .cpio, also .gz) that becomes the root: then the first argument
names the program in it. At a terminal it has the terminal; else stdin, stdout and stderr are its own, byte for byte.
xl exits with its exit code, 128 + N when signal N ended it, 127 when there is no such program, 126 when it cannot
be run, 125 when xl or the domain fails. The domain is gone then. Where no host runs, one runs meanwhile.`,
    examples:
      'xl run hello.wasm\nxl run --disk data.img sqlite3.wasm /mnt/my.db .tables\necho 1+1 | xl run -m 64 calc.wasm -',
    load: () => import('./run.ts'),
  },
  {
    name: 'prepare',
    modifies: false,
    usage: '<InFile> <OutFile>',
    description: 'Make a WASI program one that a domain starts without delay',
    options: `-h                      Print this help.
What \`xl run' and a ramdisk do by themselves, and keep; for images that are made once and used elsewhere.`,
    examples: 'xl prepare python.wasm prepared.wasm',
    load: () => import('./prepare.ts'),
  },
  {
    name: 'build-ext4',
    modifies: true,
    usage: '[options]',
    description: 'Build the driver that guests mount ext4 disks with',
    options: `-h                      Print this help.
--source=DIRECTORY      e2fsprogs, unpacked; else it is fetched from Debian's mirror.
Needs Debian's clang, lld, wasi-libc and libclang-rt-dev-wasm32, and no host. What it makes is put beside the other files of
this package; hosts that start from then on have it.`,
    examples: 'xl build-ext4\nxl build-ext4 --source=e2fsprogs-1.47.0',
    load: () => import('./build-ext4.ts'),
  },
  {
    name: 'down',
    modifies: true,
    usage: '[options] <TopologyFile>',
    description: 'Take down every domain of a topology file',
    options: `-h                      Print this help.
-q, --quiet             Say nothing but errors.
A host that \`xl up' started for this file ends with it.`,
    examples: 'xl down topology.yaml',
    load: () => import('./down.ts'),
  },
  {
    name: 'ps',
    modifies: false,
    json: true,
    usage: '[options] [TopologyFile]',
    description: 'Show every domain of the host, or of a topology, with its devices',
    options: '-h                      Print this help.',
    examples: 'xl ps\nxl ps topology.yaml\nxl ps --json | jq -r \'.domains[] | select(.state == "crashed").name\'',
    load: () => import('./ps.ts'),
  },
  {
    name: 'logs',
    modifies: false,
    usage: '[options] [Domain|host|hypervisor|dom0|xenstored ...]',
    description: "Print consoles' logs and the host's, which is what there is without a name",
    options: `-h                      Print this help.
-f, --follow            Go on with what comes, until Ctrl-C.
-n LINES                Only the last so many of each.
A domain that is gone keeps its log under its name, and so does a host that has ended.`,
    examples: 'xl logs web\nxl logs -f -n 20 web pinger\nxl logs hypervisor',
    load: () => import('./logs.ts'),
  },
  {
    name: 'events',
    modifies: false,
    json: true,
    usage: '[options]',
    description: 'Print when domains were created, shut down and why, and were destroyed, and what faults did',
    options: `-h                      Print this help.
-f, --follow            Go on with what happens, until Ctrl-C.
The host remembers the last thousand of domains, and of faults. With --json each is a line of its own.`,
    examples: 'xl events\nxl events -f --json | jq -c \'select(.reason == "crash")\'',
    load: () => import('./events.ts'),
  },
  {
    name: 'wait',
    modifies: false,
    usage: '<Domain> [options]',
    description: 'Wait until something is so of a domain',
    options: `-h                      Print this help.
--for=WHAT              up (the default): it is there and runs, its disks and vifs are connected;
                        shutdown: it has shut down, or is gone; destroyed: it is gone;
                        console=REGEX: its console has said so since its start.
-t SECONDS, --timeout=SECONDS
                        Give up after so long; without, never.
Exit code 0: it is so. 1: it cannot become so any more, or there is no host. 2: wrong usage. 3: too late.`,
    examples:
      "xl wait web\nxl wait web --for 'console=^listening' --timeout 10\nxl wait job --for shutdown && echo done",
    load: () => import('./wait.ts'),
  },
  {
    name: 'doctor',
    modifies: false,
    json: true,
    usage: '[options]',
    description: 'Check whether a host can run on this machine, and say what is lost where something is missing',
    options: `-h                      Print this help.
Exit code 0: a host can run here. 1: it cannot. Needs neither a host nor root.`,
    examples: 'xl doctor\nxl doctor --json | jq -r \'.checks[] | select(.status != "ok").advice\'',
    load: () => import('./doctor.ts'),
  },
  {
    name: 'graph',
    modifies: false,
    json: true,
    usage: '[TopologyFile] [options]',
    description: 'Draw the host, or a topology, with its domains, disks, bridges and ports',
    options: `-h                      Print this help.
--format=FORMAT         svg (the default) or mermaid.
With a host every device shows its state and its event channel; a topology is drawn without one as well.`,
    examples: 'xl graph > host.svg\nxl graph topology.yaml --format mermaid',
    load: () => import('./graph.ts'),
  },
  {
    name: 'completion',
    modifies: false,
    usage: '<bash|zsh|fish>',
    description: 'Print a script that completes commands, options, files and names of domains',
    options: '-h                      Print this help.',
    examples: 'eval "$(xl completion bash)"\neval "$(xl completion zsh)"\nxl completion fish | source',
    load: () => import('./completion.ts'),
  },
  {
    name: 'trace',
    modifies: false,
    usage: '[options]',
    description: 'Record what the hypervisor and all domains do',
    options: `-h                      Print this help.
-o FILE                 Write to FILE instead of trace.json or trace.bin.
--format=FORMAT         perfetto: for https://ui.perfetto.dev (the default); xen: as xentrace does.
-d SECONDS, --duration=SECONDS
                        Stop by itself; otherwise at ^C.
-e MASK                 Record these events only, and every one: Xen's event mask, or all, gen, sched,
                        dom0op, mem, pv, guest, separated by commas. Without it, events of all kinds
                        as far as that costs little; of the others, how many they were.`,
    load: () => import('./trace.ts'),
  },
  ...ABSENT_COMMANDS,
];

/** Every command of xl 4.17, so that what is a prefix of two of them there is ambiguous here. */
export const XL_4_17 =
  `create config-update list destroy shutdown reboot pci-attach pci-detach pci-list pci-assignable-add
  pci-assignable-remove pci-assignable-list pause unpause console vncviewer save migrate restore migrate-receive
  dump-core cd-insert cd-eject mem-max mem-set button-press vcpu-list vcpu-pin vcpu-set vm-list info sharing
  sched-credit sched-credit2 sched-rtds domid domname rename trigger sysrq debug-keys set-parameters dmesg top
  network-attach network-list network-detach channel-list block-attach block-list block-detach vtpm-attach vtpm-list
  vtpm-detach vkb-attach vkb-list vkb-detach vdispl-attach vdispl-list vdispl-detach vsnd-attach vsnd-list
  vsnd-detach uptime claims cpupool-create cpupool-list cpupool-destroy cpupool-rename cpupool-cpu-add
  cpupool-cpu-remove cpupool-migrate cpupool-numa-split getenforce setenforce loadpolicy remus devd psr-hwinfo
  psr-cmt-attach psr-cmt-detach psr-cmt-show psr-cat-set psr-cat-show psr-mba-set psr-mba-show usbctrl-attach
  usbctrl-detach usbdev-attach usbdev-detach usb-list qemu-monitor-command`.split(/\s+/);

/** By its name or an unambiguous beginning of it. A beginning of one of xl's own commands never means ours. */
export function findCommand(name: string): CommandSpec | undefined {
  const exact = COMMANDS.find(command => command.name === name);
  if (exact !== undefined || name === '') return exact;
  for (const names of [XL_4_17, COMMANDS.map(command => command.name)]) {
    const matches = names.filter(candidate => candidate.startsWith(name));
    if (matches.length > 0) {
      return matches.length === 1 ? COMMANDS.find(command => command.name === matches[0]) : undefined;
    }
  }
  return undefined;
}
