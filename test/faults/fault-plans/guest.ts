// Does to its disk what it is told on its console, a line each, and says what came of it.
import { console, disks, type HttpServer, host, http, system } from 'xenolith';

const SECTORS = 8;
let server: HttpServer | undefined;

async function doLine(line: string): Promise<string> {
  const [what = '', sector = '0', value = '0'] = line.split(' ');
  const disk = disks.get('xvda');
  const buffer = new Uint8Array(SECTORS * disk.sectorSize);
  switch (what) {
    case 'write':
      await disk.submitWrite(Number(sector), buffer.fill(Number(value)));
      return 'ok';
    case 'read': {
      await disk.submitRead(Number(sector), buffer);
      const odd = buffer.findIndex(byte => byte !== Number(value));
      return odd < 0 ? 'same' : `other at ${odd}: ${buffer[odd]}`;
    }
    case 'over': {
      // All at once, one over the other: 1, 2, 3 and so on.
      const pages = Array.from({ length: Number(value) }, (_, i) => new Uint8Array(buffer.length).fill(i + 1));
      await Promise.all(pages.map(page => disk.submitWrite(Number(sector), page)));
      return 'ok';
    }
    case 'flush':
      await disk.submitFlush();
      return 'ok';
    case 'store':
      await system.store.write('data/told', sector);
      return `told ${await system.store.read('data/told')}`;
    case 'echo': {
      const connection = await host.connect(Number(sector));
      await connection.write(value);
      let said = '';
      for (let part = await connection.read(); part !== null; part = await connection.read()) {
        said += new TextDecoder().decode(part);
        if (said.length === value.length) break;
      }
      await connection.close();
      return `echoed ${said}`;
    }
    case 'serve':
      server = await http.serve(80, () => 'served');
      return 'ok';
    case 'serve-no-more':
      await server?.close();
      return 'ok';
    case 'time':
      return String(Math.floor(Date.now() / 1000));
    default:
      return 'what?';
  }
}

export default async function main(): Promise<void> {
  console.log('ready');
  for await (const line of console.lines()) {
    const said = await doLine(line).catch((error: { code?: string }) => `failed ${error.code}`);
    console.log(`> ${said} <`);
  }
}
