// `shell-test.js`: what `xl doctor` asks. Starts a shell as a host does, which tries under its filter what a guest needs,
// and ends it. Prints `fit`, or why no domain would run, in a line.
import { writeSync } from 'node:fs';
import { closeFd, closeOnExec, exitProcess, prepareFilter, socketPair, XENOLITH_LAYER_seccomp } from '#pvbus';
import { hostPolicy } from './host-policy.ts';
import { takeLayers } from './layers.ts';
import { ShellLauncher } from './shell-launcher.ts';

const said: string[] = [];
// order: as in the hypervisor's main.ts, before any other thread is there.
closeOnExec(3);
const layers = takeLayers();
if ((layers.bits & XENOLITH_LAYER_seccomp) !== 0) prepareFilter(hostPolicy)();

const launcher = new ShellLauncher(layers, {
  spawned: (_id, _pid, pidfd) => closeFd(pidfd),
  fit: () => void conclude('fit'),
  said: (_id, line) => said.push(line),
  exited: (_id, code, signal, failure, detail) => {
    const how = failure ?? `it ended: ${signal ?? `exit code ${code}`}`;
    void conclude([how, detail, said[0]].filter(text => text !== undefined).join(', '));
  },
  failed: error => void conclude(error.message),
});
let concluded = false;
async function conclude(verdict: string): Promise<void> {
  if (concluded) return;
  concluded = true;
  writeSync(1, `${verdict}\n`);
  await launcher.killAll();
  exitProcess(0);
}
launcher.spawn(1, socketPair()[1]);
