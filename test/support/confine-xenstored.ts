// Preloaded into a xenstored that is by itself: from when it serves it has the filter of one that has a host around it.
import { setNoNewPrivileges, streamLog, systemClock } from '#pvbus';
import { confine } from '../../dom0/confinement/confine.ts';
import { xenstoredPolicy } from '../../dom0/confinement/policies.ts';

const write = process.stdout.write.bind(process.stdout);
process.stdout.write = (text: string | Uint8Array): boolean => {
  process.stdout.write = write;
  setNoNewPrivileges();
  confine(xenstoredPolicy, streamLog(process.stderr, 'confine-xenstored', systemClock));
  return write(text);
};
