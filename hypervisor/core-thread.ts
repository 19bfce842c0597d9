// The hypervisor's core thread: serves traps, runs timers, hears of processes; sleeps in between.
import { writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import {
  allowCpus,
  exitProcess,
  type Log,
  MailboxReader,
  type MailboxSeed,
  monotonicRawNow,
  PAGE_SIZE,
  reservedViewsLeft,
  reserveViews,
  streamLog,
  systemClock,
} from '#pvbus';
import type { Domain } from './domain.ts';
import { DOM0_VCPUS, ProcessTable } from './domain-process.ts';
import { howEnded } from './end.ts';
import type { Confinement } from './hypercalls/xenolith-op.ts';
import { DEFERRED, Hypervisor } from './hypervisor.ts';
import { filesAreExact } from './memory-audit.ts';
import { idleNs, linuxCpus } from './pcpus.ts';
import type { ToCore } from './process-messages.ts';
import { TrapLoop, TrapPage } from './transport.ts';

/** What main.ts starts this thread with. */
export interface CoreThreadData {
  readonly mailbox: MailboxSeed;
  /** Descriptor of the host's log. */
  readonly log: number;
  readonly mediated: boolean;
  /** Bytes that domains can have together. */
  readonly mem: number | undefined;
  readonly confinement: Confinement;
}
/** dom0's memory in pages: grant mappings are elsewhere, so this is what its own drivers may share. */
const DOM0_PAGES = 4096;
/** So much of domains' memory is viewed in advance. */
const VIEWED_BYTES = 2 ** 30;

const { mailbox: seed, log: logFd, mediated, mem, confinement } = workerData as CoreThreadData;
const logOf = (who: string): Log => streamLog({ write: text => writeSync(logFd, text) }, who, systemClock);
const log = logOf('xen');

/** The engine collects garbage for views that are made; it is to do so now, not while a domain is being made. */
function viewAhead(): void {
  if (reservedViewsLeft() >= VIEWED_BYTES / 2) return;
  reserveViews(VIEWED_BYTES);
  globalThis.gc?.();
}

function run(): void {
  const loop = new TrapLoop();
  const mailbox = new MailboxReader(seed, loop.words);
  const processes = new ProcessTable(message => mailbox.reply(message), log, systemClock, logOf);
  const hypervisor = new Hypervisor({
    clock: systemClock,
    rawClock: monotonicRawNow,
    log,
    processes,
    nrCpus: linuxCpus.length,
    idleNs,
    mediated,
    confinement,
    filesAreExact: filesAreExact(),
    ...(mem !== undefined && { hostPages: Math.floor(mem / PAGE_SIZE), build: { commandLine: `mem=${mem / 1024}K` } }),
  });
  const down = (status: number, why: string) => mailbox.reply({ op: 'host-down', status, why });

  hypervisor.onDomainCreated = (domain: Domain) => {
    for (const vcpu of domain.vcpus) {
      const page = new TrapPage(domain.memory, domain.layout, domain.domid, vcpu.id);
      vcpu.complete = result => page.reply(result);
      vcpu.forgetTrap = () => page.forget();
      loop.add(page);
    }
  };
  loop.onNote = (page, want) => hypervisor.noted(page.domid, page.vcpu, want);
  const { scheduler } = hypervisor;
  scheduler.onLeisurely = pcpus =>
    void allowCpus(
      0,
      linuxCpus.filter((_, id) => pcpus.includes(id)),
    );
  hypervisor.onDomainGone = (domain: Domain) => loop.remove(domain.domid);
  hypervisor.onHostShutdown = reason => down(0, `dom0 shut the host down (reason ${reason})`);
  processes.onExit = (domain, end) => {
    if (domain.domid === 0) down(1, `a process of dom0 ended: ${howEnded(end)}`);
    else hypervisor.domainExited(domain.domid, end);
  };

  processes.onVacated = vcpu => hypervisor.vacated(vcpu);
  processes.onTaken = vcpu => hypervisor.taken(vcpu);
  processes.onReplaced = () => hypervisor.replaced();

  hypervisor.createDomain0({ max_vcpus: DOM0_VCPUS, max_pages: DOM0_PAGES });
  processes.prepare();
  viewAhead();

  const drive = (): void => {
    for (;;) {
      let progress = loop.step((page, op, a0, a1, a2, a3, a4) => {
        const result = hypervisor.trap(page.domid, page.vcpu, op, a0, a1, a2, a3, a4);
        if (result !== DEFERRED) page.reply(result);
      });
      for (let mail = mailbox.receive(); mail !== undefined; mail = mailbox.receive()) {
        processes.hear(mail.message as ToCore);
        progress = true;
      }
      if (scheduler.step() === 'progress') progress = true;
      if (hypervisor.step() === 'progress') progress = true;
      const due = processes.deadline;
      if (due !== undefined && due <= systemClock.now()) {
        if (processes.runDue(systemClock.now())) {
          viewAhead();
          // Views that were collected are unmapped by the event loop, which has a turn for that alone.
          return void setImmediate(orEnd, drive);
        }
        progress = true;
      }
      if (!progress)
        loop.sleep(earliest(earliest(hypervisor.nextDeadline(), scheduler.nextDeadline()), processes.deadline));
    }
  };
  drive();
}

function earliest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b);
}

function orEnd(body: () => void): void {
  try {
    body();
  } catch (error) {
    // A bug of ours: say so and end the whole host; a half-alive hypervisor helps nobody.
    log.error(`hypervisor core: ${error instanceof Error ? error.stack : String(error)}`);
    exitProcess(70);
  }
}

orEnd(run);
