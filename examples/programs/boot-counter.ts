// Counts how often this domain has booted, in a file that outlives it.
//   disk = [ "counter.img,raw,xvda,w" ]    cmdline = "root=/dev/xvda"
import { console, files, system } from 'xenolith';

const FILE = 'boots.txt';

export default async function main(): Promise<void> {
  const boots = files.exists(FILE) ? Number(files.readText(FILE)) + 1 : 1;
  // Not before this returns is the number on the disk's medium.
  files.writeFile(FILE, String(boots), { sync: true });
  console.log(`${system.name}: boot number ${boots}`);

  const { free, total } = files.space();
  console.log(`disk: ${Math.round(free / 1024)} of ${Math.round(total / 1024)} KiB free`);
  for (const { name, size, modified } of files.list()) {
    console.log(`${String(size).padStart(8)}  ${modified.toISOString()}  ${name}`);
  }

  const again = await console.readLine('boot again? ');
  if (again === 'yes') system.reboot();
  else system.shutdown();
  // The domain ends when its shutdown hooks have run; until then main may wait.
  await new Promise(() => {});
}
