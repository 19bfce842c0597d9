// Run with a folder, in a mount namespace: a host with a disk whose file is of FUSE, and one beside it. Prints JSON.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type * as library from '../../../tools/library/xenolith.d.ts';
import { dist } from '../../support/host-view.ts';
import { eventually } from '../../support/processes.ts';

const { Host }: typeof library = await import(dist('library.mjs'));

const ramdisk = fileURLToPath(new URL('../fault-plans/guest.ts', import.meta.url));
const folder = process.argv[2]!;
const [image, mounted, elsewhere] = ['image', 'mounted', 'elsewhere'].map(name => join(folder, name)) as [
  string,
  string,
  string,
];
const SIZE = 1 << 20;
/** Longer than the turn of a disk that is not slow: a guest that is slower itself has it done again. */
const STOPPED_MS = 300;

for (const path of [image, mounted, elsewhere]) closeSync(openSync(path, 'w'));
for (const path of [image, elsewhere]) truncateSync(path, SIZE);
// It ends with this process, also while it is stopped.
const server = spawn(
  'setpriv',
  [
    ...['--pdeathsig', 'KILL', '--', 'qemu-storage-daemon'],
    ...['--blockdev', `driver=file,node-name=file,filename=${image}`],
    ...['--export', `type=fuse,id=export,node-name=file,mountpoint=${mounted},writable=on`],
  ],
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
await eventually('the file is served', () => statSync(mounted).size === SIZE);

const host = await Host.start({ memory: '256M' });
try {
  const guest = async (name: string, path: string): Promise<library.DomainConsole> => {
    await host.domain(name).create({ ramdisk, memory: 16, disk: [`${path},raw,xvda,w`] });
    const console = await host.domain(name).console();
    await console.waitFor('ready');
    return console;
  };
  const answerOf = async (console: library.DomainConsole): Promise<string> =>
    /> (.*) </.exec(await console.waitFor(/> .* </))![1]!;
  const one = await guest('one', mounted);
  const other = await guest('other', elsewhere);
  const ask = (line: string): Promise<string> => {
    other.write(`${line}\n`);
    return answerOf(other);
  };

  const answers: string[] = [];
  while (!host.log().includes(': its image is slow')) {
    server.kill('SIGSTOP');
    one.write(`write 0 ${answers.length + 1}\n`);
    await pause(STOPPED_MS);
    server.kill('SIGCONT');
    answers.push(await answerOf(one));
  }

  server.kill('SIGSTOP');
  one.write('write 8 99\n');
  let early = '';
  const answer = answerOf(one);
  void answer.then(text => {
    early = text;
  });
  const beside: string[][] = [];
  for (let n = 1; n <= 20; n++) beside.push([await ask(`write 16 ${n}`), await ask(`read 16 ${n}`)]);
  const before = early;
  server.kill('SIGCONT');
  const came = await answer;
  one.write('read 8 99\n');
  const read = await answerOf(one);
  const bytes = readFileSync(image);
  const result = { answers, beside, early: before, answer: came, read, image: [bytes[0], bytes[8 * 512]] };
  console.log(JSON.stringify(result));
} finally {
  server.kill('SIGCONT');
  await host.stop();
  server.kill();
}
