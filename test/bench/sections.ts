// docs/benchmarks.md as `npm run bench` prints it: a section for each group, in this order, and how its table is read.
import { cpus } from 'node:os';

export interface Section {
  readonly title: string;
  /** Markdown. */
  readonly about: string;
}

export const SECTIONS = {
  events: {
    title: 'Events',
    about: `Event channels between two domUs, asleep on one CPU or spinning on one each, and a hypercall that does nothing with the
hypervisor on the same CPU; beside bare processes that do as much with a futex or a word of shared memory.`,
  },
  disk: {
    title: 'Disks',
    about: `A vbd on a raw file in page cache, beside the same reads and writes of that file by a loop in Node. Of one read at a time the
yardstick is what it may cost: a futex round trip and three bare reads.`,
  },
  files: {
    title: 'Files',
    about: `500 files in one directory of a FAT volume on a vbd, by a program in TypeScript, beside the same calls of Node on the host: in a
tmpfs where nothing is promised, in the file system of the image where an fsync has to mean it. The mix is 4 KiB at random of
16 MiB, an fsync every 32 writes. FatFs follows a file's chain of clusters from its beginning; it is taken to every 64th cluster by
the kernel. A rename between two sectors of a directory is on the medium when it returns: the new name first, then the old one is gone.`,
  },
  nbd: {
    title: 'Disks over NBD',
    about: `One qemu-nbd on a raw file of 64 MiB in page cache, asked by a guest and by \`qemu-img bench\`, by turns; the mix beside a loop
on the file. A write is copied twice in dom0, into the server's socket and into what is remembered until the next flush; so is a read,
out of the socket and into the guest's page. The thread of NBD disks takes 0.34 ms of processor time for a MiB that is read, 0.42 ms
for one that is written.`,
  },
  net: {
    title: 'Frames',
    about: `Frames of 1500 bytes from one domU to another over a bridge, beside messages of that size between two
processes over a unix socket of Node.`,
  },
  tcp: {
    title: 'TCP between guests',
    about: `One connection from a program in one domU to one in another, over the bridge, beside node:net over Linux's loopback.`,
  },
  host: {
    title: 'TCP and HTTP with the host',
    about: `Between a domU and Linux's own stack in a network namespace: one connection over a TAP, and requests on 16 connections, by the
vif and by pvcalls; beside the same program over Linux's loopback.`,
  },
  create: {
    title: 'Creation',
    about: `From the request to the toolstack until the guest's first line is in its console's log: cold, when Node has to be started first,
and prepared, with a shell that waits. The goal of the second is 10 ms on a machine where \`node -e 0\` takes 42.`,
  },
  programs: {
    title: 'Programs',
    about: `A whole domain, \`xl run\` to its end, beside the same .wasm under Node's own \`node:wasi\` on a file of the host, but where it says
otherwise. Inserts are counted without the program's start. What a prepared program itself costs beside a plain one is in
[ADR 10](adr/0010-programs-are-instrumented-to-be-switched.md).`,
  },
  idle: {
    title: 'Domains that do nothing',
    about: `What each of 20 domains has in memory of its own, and the CPU time of the whole host with them; beside what they may have.`,
  },
  hostile: {
    title: 'Hostile neighbours',
    about: `The 99th percentile of an innocent's checked disk writes beside a domain that performs acts of one class without pause, over the
same beside one that is as busy with what it may do ([hostile-acts.md](hostile-acts.md)). dom0 is the innocent's backend, also where it
is a backend that is hostile to its own guest. The last line is of requests to the toolstack, beside a guest on each processor
that never yields, over the same beside guests that do.`,
  },
  scheduler: {
    title: 'The scheduler',
    about: `Shares, caps, wake-ups and RTDS periods on one pCPU, beside what Linux does with plain processes there. Read it with
[scheduling.md](scheduling.md).`,
  },
  trace: {
    title: 'Tracing',
    about: `Nothing of it in the guest's kernel, there but off, on as \`xl trace\` does it, and every event of all classes recorded
(\`-e all\`), both with a reader. Ratios are medians of runs that followed each other, and of costs: more than 1 is worse in every
line. Read it with [tracing.md](tracing.md).`,
  },
  virt: {
    title: 'Micro-benchmarks of hypervisors',
    about: `What the paper "ARM Virtualization: Performance and Architectural Implications" (ISCA 2016) measured of Xen and KVM, measured
here, beside its cycles (quoted from memory: check them against the paper). A cycle is a nanosecond times the processor's frequency,
since JavaScript cannot read its counter. An IPI stays in the domain: the sender sets the bits in shared_info itself, and wakes only
who sleeps. Who waits spins for up to 40 µs where that has paid lately, so that the second line of it hardly ever sleeps. The I/O
latencies are taken from a trace of every event, so they include what its records cost.`,
  },
  xenstored: {
    title: 'xenstored',
    about: `Beside Debian's daemons in C and OCaml, where they are installed, asked by the same client in turn; \`control\` is a server that
only cuts its input into messages and answers each. \`ahead by\` is beside the better of the two: more than 1 is better.`,
  },
  xl: {
    title: 'xl',
    about: `A listing beside the start of Node, one of 200 domains beside that of one, and a topology of 50 domains beside as many starts of
Node. \`xl up\` makes twice as many domains at a time as there are processors; on two of them that gains nothing for domains that do
nothing but start, and much where domains wait: for devices, scripts, memory.`,
  },
} as const satisfies Record<string, Section>;
export type Group = keyof typeof SECTIONS;

export const heading = (group: Group): string => `## ${SECTIONS[group].title}\n\n${SECTIONS[group].about}`;

/** What comes before the sections. */
export const page = (): string => `# Benchmarks

What \`npm run -s bench > docs/benchmarks.md\` has found on a machine that does nothing else: ${machine()}.
\`npm run -s bench -- GROUP\` prints the section of a group alone, to be put in its place:
\`${Object.keys(SECTIONS).join('`, `')}\`.

Each row has a yardstick that was measured in the same run, by turns and on the same processors: compare with that, not with another
day's figures. Of both there is the median of several runs; \`ratio\` is ours over the yardstick's, and \`goal\` what is to be kept of it.
Before each table is the weather in which its group began: the machine's load, and what a round trip between two bare processes
took that spin, and that sleep on a futex, on a CPU each.`;

const machine = (): string => `${cpus().length} × ${cpus()[0]?.model ?? 'a processor'}, Node ${process.version}`;
