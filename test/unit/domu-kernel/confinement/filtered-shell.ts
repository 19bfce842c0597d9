// Does what a shell does while it waits, with one system call less.
import { writeSync } from 'node:fs';
import { exitProcess, prepareFilter, type SyscallName, setNoNewPrivileges } from '#pvbus';
import { waitingPolicy } from '../../../../domu-kernel/confinement/policy.ts';
import { selfTest } from '../../../../domu-kernel/confinement/self-test.ts';

const { rules, otherwise } = waitingPolicy(process.pid);
const { [process.argv[2] as SyscallName]: _, ...fewer } = rules;
setNoNewPrivileges();
prepareFilter({ rules: fewer, otherwise })();
await selfTest(globalThis.gc, () => {});
writeSync(1, 'good\n');
exitProcess(0); // tsx has threads that would want to end in order
