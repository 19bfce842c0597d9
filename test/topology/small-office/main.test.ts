// The README's first page, done: `npm start`, curl, kill -9 of the web domain, its end in `xl list`, its
// notes in the image, its return by `xl create`; and Ctrl-C. What happens to web happens to nobody else.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fsck } from '../../reliability/fsck.ts';
import { Office } from '../../support/office.ts';
import { eventually, isAlive, processOfDomain } from '../../support/processes.ts';

const isInstalled = (program: string): boolean =>
  `${process.env.PATH}:/usr/sbin:/sbin`.split(delimiter).some(folder => existsSync(join(folder, program)));
const missing = ['curl', 'mtype', 'fsck.vfat'].filter(program => !isInstalled(program));

// Each test goes on where the one before it has stopped, as a reader of the README does.
describe.skipIf(missing.length > 0)(`npm start (skipped without Debian's ${missing.join(', ') || 'tools'})`, () => {
  let office: Office;
  beforeAll(async () => {
    office = await Office.make();
    await office.start();
  });
  afterAll(() => office?.remove());

  const image = (): string => office.path('www.img');
  /** notes.txt as Debian's mtools find it in the image, with nobody's help. */
  const notesInImage = (): string => execFileSync('mtype', ['-i', image(), '::notes.txt'], { encoding: 'utf8' });
  /** Who may have nobody to answer waits for `seconds`. */
  const post = (note: string, seconds = 60) =>
    office.curl('--max-time', String(seconds), '-d', note, office.url('/notes'));
  const domain = async (name: string) => {
    const found = (await office.host.domains()).find(one => one.name === name);
    if (found === undefined) throw new Error(`xl list has no ${name}`);
    return found;
  };
  const console = (name: string): string => office.host.consoleLog(name);
  const killWeb = async (): Promise<void> => {
    const { domid, seconds } = await domain('web');
    process.kill(processOfDomain(domid, office.processes()), 'SIGKILL');
    await eventually('xl list shows that web has crashed', async () => (await domain('web')).state === '---sc-');
    expect((await domain('web')).seconds).toBeGreaterThanOrEqual(seconds);
  };
  const bringWebBack = async (): Promise<void> => {
    expect(await office.host.xl('destroy', 'web')).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await office.host.xl('create', 'examples/small-office/web.cfg')).toMatchObject({ exitCode: 0 });
    await eventually('web serves again', async () => (await office.curl(office.url('/'))).status === 200);
  };

  /** Three in a row from now on: on a machine that is busy one may come after the second it has. */
  const pingsAreAnswered = async (): Promise<void> => {
    const before = console('pinger').length;
    const isAnswer = (line: string): boolean => / seq=\d+ time=/.test(line);
    await eventually('three answers in a row', () => {
      const lines = console('pinger').slice(before).split('\n').slice(1, -1);
      return lines.some((_, i) => lines.slice(i, i + 3).filter(isAnswer).length === 3);
    });
  };

  it('prints a line for each phase with its time, the table of xl list, the URL and what to try', () => {
    const { output } = office;
    for (const what of ['image', 'host', 'bridge', 'web', 'pinger', 'worker', 'spare'])
      expect(output).toMatch(new RegExp(`^ +\\d+ ms  (domain )?${what}\\b`, 'm'));
    expect(output).toMatch(/^Name +ID +Mem VCPUs\tState\tTime\(s\)$/m);
    expect(output).toContain(office.url('/'));
    expect(output).toContain(`curl -d 'buy milk' ${office.url('/notes')}`);
    // The program is a link's target here, outside of the folder, and the host is not the default one.
    expect(output).toMatch(/^try {2}XENOLITH_RUN_DIR=.*\/run'? '?\/.*\/bin\/xl'? unpause spare$/m);
  });

  it('has brought up four domains, the spare one paused', async () => {
    const domains = await office.host.domains();
    expect(domains.map(({ name }) => name)).toEqual(['Domain-0', 'web', 'pinger', 'worker', 'spare']);
    for (const { name, state } of domains) {
      // Neither running nor blocked: it waits for a processor.
      const allowed = name === 'spare' ? ['--p---'] : ['r-----', '-b----', '------'];
      expect(allowed, name).toContain(state);
    }
  });

  it('serves files of the disk image to curl', async () => {
    await eventually('web answers', async () => (await office.curl(office.url('/'))).status === 200);
    expect(await office.curl(office.url('/hello.txt'))).toEqual({
      status: 200,
      body: readFileSync(office.path('www/hello.txt'), 'utf8'),
    });
    expect((await office.curl(office.url('/no-such-file'))).status).toBe(404);
  });

  it('takes a note, and answers once it is in the image', async () => {
    expect(await post('buy milk')).toEqual({ status: 201, body: 'noted\n' });
    expect(notesInImage()).toMatch(/ buy milk\n$/);
  });

  it('has a pinger that is answered, and a worker that gets on', async () => {
    await pingsAreAnswered();
    await eventually('primes', () => /\d+ primes up to \d+/.test(console('worker')));
  });

  it('keeps every note it has acknowledged through kill -9 of the web domain, in a clean file system', async () => {
    for (const note of ['call home', 'water the plants']) expect((await post(note)).status).toBe(201);
    await killWeb();
    const notes = notesInImage();
    for (const note of ['buy milk', 'call home', 'water the plants']) expect(notes).toContain(` ${note}\n`);
    expect(fsck('-n', image())).toBe('');
  });

  it('shows the end of the domain and its reason', async () => {
    expect((await office.host.xl('list', '-v', 'web')).stdout).toMatch(/^web .* ---sc- .* 3 /m);
    await eventually('the log names it', () => /domain 'web' \(dom\d+\) has crashed/.test(office.host.log()));
    await eventually('npm start says so', () => /web, domain \d+, has shut down: crash/.test(office.output));
    expect((await office.curl('--max-time', '1', office.url('/'))).status).toBe(0);
  });

  it('has it back by xl destroy and xl create, with its notes', async () => {
    await bringWebBack();
    expect((await office.curl(office.url('/notes'))).body).toMatch(/ buy milk\n.* call home\n.* water the plants\n/s);
    expect((await post('it is back')).status).toBe(201);
  });

  it('has every acknowledged note in the image, too, when web is killed while notes pour in', async () => {
    const acknowledged: string[] = [];
    let pouring = true;
    const pour = async (who: number): Promise<void> => {
      for (let i = 0; pouring; i++) {
        const note = `note ${i} of ${who}`;
        if ((await post(note, 3)).status === 201) acknowledged.push(note);
      }
    };
    const pourers = [pour(1), pour(2), pour(3)];
    await eventually('twenty notes', () => acknowledged.length >= 20);
    await killWeb();
    pouring = false;
    await Promise.all(pourers);
    const lines = new Set(
      notesInImage()
        .split('\n')
        .map(line => line.slice(line.indexOf(' ') + 1)),
    );
    expect(acknowledged.filter(note => !lines.has(note))).toEqual([]);
    await bringWebBack();
  });

  it('let nobody else notice', async () => {
    await pingsAreAnswered();
    const found = await Promise.all(['pinger', 'worker', 'spare'].map(domain));
    expect(found.map(({ domid }) => domid)).toEqual([2, 3, 4]);
    expect(found[2]!.state).toBe('--p---');
    expect(console('spare')).toBe('');
    const reports = console('worker').split(' primes up to ').length;
    await eventually('the worker gets on', () => console('worker').split(' primes up to ').length > reports);
  });

  it('goes on when dom0 is killed', async () => {
    const kill = ['part=process', 'process=dom0', 'kill=true'];
    expect(await office.host.xl('fault', 'add', ...kill)).toMatchObject({ exitCode: 0 });
    await eventually('another process is dom0', () => office.host.log().includes('another process of dom0 has ended'));
    await eventually('web serves again', async () => (await office.curl(office.url('/'))).status === 200);
  });

  it('is told by xl unpause that the spare one may run', async () => {
    // Tools are served after devices are.
    await eventually('it is told', async () => (await office.host.xl('unpause', 'spare')).exitCode === 0);
    await eventually('its first words', () => console('spare').includes('spare: awake'));
  });

  it('ends at Ctrl-C, and leaves no process and no socket, but the images', async () => {
    const all = office.processes();
    expect(all.length).toBeGreaterThan(7);
    expect(await office.signal('SIGINT')).toSatisfy(end => end === 0 || end === 'SIGINT'); // npm's own; xl's is 0
    await eventually('every process has ended', () => !all.some(isAlive));
    expect(office.host.files().filter(name => !/^(log|host\.log|version|log\/.*)$/.test(name))).toEqual([]);
    expect(notesInImage()).toContain(' it is back\n');
  });
});
