// The guest of `npm run bench -- files`: jobs of file-jobs.ts on its root, told on its console.
import { clock, console, files } from 'xenolith';
import { type Files, JOBS } from './file-jobs.ts';

const root: Files = {
  write: (name, bytes, sync) => files.writeFile(`dir/${name}`, bytes, { sync }),
  stat: name => files.stat(`dir/${name}`),
  rename: (from, to) => files.rename(`dir/${from}`, `dir/${to}`),
  remove: name => files.remove(`dir/${name}`),
  open: name => files.open(`dir/${name}`, 'r+'),
};

export default async function main(): Promise<void> {
  files.mkdir('dir');
  console.log('{"ready":1}');
  for (let line = await console.readLine(); line !== null; line = await console.readLine()) {
    const [job = '', count] = line.trim().split(' ');
    const from = clock.now();
    JOBS[job]?.(root, Number(count));
    console.log(JSON.stringify({ perSecond: (Number(count) * 1000) / (clock.now() - from) }));
  }
}
