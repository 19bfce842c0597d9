// A web page about this domain, with a note of whether a service of the host answers.
//   pvcalls = [ "listen=8080:80,connect=5432" ]    cmdline = "check=5432"
import { clock, console, disks, host, http, system } from 'xenolith';

const started = clock.now();
let service = 'not asked yet';

async function check(port: number): Promise<string> {
  try {
    const connection = await host.connect(port);
    await connection.close();
    return 'answers';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

export default async function main(): Promise<void> {
  await http.serve(80, ({ method, path }) => {
    if (method !== 'GET') return { status: 405 };
    if (path === '/health') return { status: service === 'answers' ? 200 : 503, body: service };
    return {
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        name: system.name,
        memoryMiB: system.memory,
        uptimeSeconds: Math.round((clock.now() - started) / 1000),
        disks: disks.list().map(({ name, sectors }) => ({ name, sectors })),
        service,
      }),
    };
  });
  console.log(`${system.name}: serving`);
  const port = Number(system.args.check);
  for await (const _ of clock.every(1000)) service = await check(port);
}
