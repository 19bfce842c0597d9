// xentop on a terminal: what is on the screen, and what the keys do.

import type { XlIo } from '../commands/command.ts';
import { FIELDS } from './fields.ts';
import { atoi, type XentopOptions } from './options.ts';
import type { Sample } from './sample.ts';
import { tableLines } from './table.ts';

const ESC = '\x1b';
const ENTER_SCREEN = `${ESC}[?1049h${ESC}[?25l`;
const LEAVE_SCREEN = `${ESC}[?25h${ESC}[?1049l`;
const HOME = `${ESC}[H`;
const CLEAR_LINE = `${ESC}[K`;
const CLEAR_BELOW = `${ESC}[J`;
const reverse = (text: string): string => `${ESC}[7m${text}${ESC}[m`;
const bold = (text: string): string => `${ESC}[1m${text}${ESC}[m`;

/** The lines above the table. */
const SUMMARY_LINES = 3;
const PAGE = 5;

/** An escape sequence, or one character. */
const KEYS = new RegExp(`${ESC}\\[[0-9]*[A-Z~]|[^]`, 'g');

interface Mutable {
  networks: boolean;
  vbds: boolean;
  vcpus: boolean;
  repeatHeader: boolean;
  sortBy: number;
  delaySeconds: number;
}

/** The state that keys change; without a terminal, so that it can be looked at. */
export class Screen {
  readonly #fullName: boolean;
  readonly #now: () => Date;
  #is: Mutable;
  #first = 0;
  /** What has been typed of a new delay. */
  #typed: string | undefined;
  #quit = false;

  constructor(options: XentopOptions, now: () => Date) {
    const { networks, vbds, vcpus, repeatHeader, sortBy, delaySeconds, fullName } = options;
    this.#is = { networks, vbds, vcpus, repeatHeader, sortBy, delaySeconds };
    this.#fullName = fullName;
    this.#now = now;
  }

  get quit(): boolean {
    return this.#quit;
  }
  get delaySeconds(): number {
    return this.#is.delaySeconds;
  }

  /** What one read of the terminal gave. */
  type(keys: string): void {
    for (const key of keys.match(KEYS) ?? []) this.#key(key);
  }

  /** The lines of a terminal of so many rows and columns. */
  lines(sample: Sample, rows: number, columns: number): string[] {
    const room = Math.max(0, rows - SUMMARY_LINES - 1);
    this.#first = Math.min(this.#first, Math.max(0, sample.domains.length - 1));
    const table = tableLines(sample, { ...this.#is, fullName: this.#fullName }, this.#first).slice(0, room);
    const titles = this.#is.repeatHeader ? table : [this.#header(table[0] ?? '', columns), ...table.slice(1)];
    const blank = Array.from({ length: room - titles.length }, () => '');
    const shown = titles.map((line, i) => (i === 0 && !this.#is.repeatHeader ? line : line.slice(0, columns)));
    return [...this.#summary(sample).map(line => line.slice(0, columns)), ...shown, ...blank, this.#bottom()];
  }

  #key(key: string): void {
    if (this.#typed !== undefined) {
      this.#prompt(key, this.#typed);
      return;
    }
    const is = this.#is;
    switch (key.toLowerCase()) {
      case 'q':
      case '\x03':
      case ESC:
        this.#quit = true;
        return;
      case 'd':
        this.#typed = '';
        return;
      case 'n':
        is.networks = !is.networks;
        return;
      case 'b':
      case 'x':
        is.vbds = !is.vbds;
        return;
      case 'v':
        is.vcpus = !is.vcpus;
        return;
      case 'r':
        is.repeatHeader = !is.repeatHeader;
        return;
      case 's':
        is.sortBy = (is.sortBy + 1) % FIELDS.length;
        return;
      case `${ESC}[a`:
        this.#first = Math.max(0, this.#first - 1);
        return;
      case `${ESC}[b`:
        this.#first++;
        return;
      case `${ESC}[5~`:
        this.#first = Math.max(0, this.#first - PAGE);
        return;
      case `${ESC}[6~`:
        this.#first += PAGE;
    }
  }
  #prompt(key: string, typed: string): void {
    if (key === ESC) this.#typed = undefined;
    else if (key === '\x7f' || key === '\b') this.#typed = typed.slice(0, -1);
    else if (key === '\r' || key === '\n') {
      // Xen: what is no number leaves the delay as it was.
      const seconds = atoi(typed);
      if (seconds > 0) this.#is.delaySeconds = seconds;
      this.#typed = undefined;
    } else if (key === '\x03') this.#quit = true;
    else if (/^[ -~]$/.test(key) && typed.length < 9) this.#typed = typed + key;
  }

  #summary({ host, domains }: Sample): string[] {
    const count = (is: (state: Sample['domains'][number]['info']) => boolean): number =>
      domains.filter(({ info }) => is(info)).length;
    const crashed = count(info => info.shutdown && info.shutdown_reason === 3);
    const total = host.total_memory * 1024;
    const free = host.free_memory * 1024;
    const time = this.#now().toTimeString().slice(0, 8);
    return [
      `xentop - ${time}   Xen ${host.xen_major}.${host.xen_minor}${host.xen_extra}`,
      `${domains.length} domains: ${count(info => info.running)} running, ${count(info => info.blocked)} blocked, ` +
        `${count(info => info.paused)} paused, ${crashed} crashed, ${count(info => info.dying)} dying, ` +
        `${count(info => info.shutdown) - crashed} shutdown `,
      `Mem: ${total}k total, ${total - free}k used, ${free}k free    ` +
        `CPUs: ${host.nr_cpus} @ ${Math.floor(host.cpu_khz / 1000)}MHz`,
    ];
  }
  /** In reverse, with the column that is sorted by standing out. */
  #header(line: string, columns: number): string {
    const { sortBy } = this.#is;
    const from = FIELDS.slice(0, sortBy).reduce((all, { width }) => all + width + 1, 0);
    const to = from + FIELDS[sortBy]!.width;
    const cut = line.slice(0, columns);
    const part = (text: string, style: (text: string) => string): string => (text === '' ? '' : style(text));
    return part(cut.slice(0, from), reverse) + part(cut.slice(from, to), bold) + part(cut.slice(to), reverse);
  }
  #bottom(): string {
    if (this.#typed !== undefined) return `Delay(sec): ${this.#typed}`;
    const { networks, vbds, vcpus, repeatHeader } = this.#is;
    const item = (text: string, at: number, on = false): string => {
      const style = on ? bold : (plain: string) => plain;
      return `${text.slice(0, at)}${reverse(text[at]!)}${style(text.slice(at + 1))}`;
    };
    return [
      ...[item('Delay', 0), item('Networks', 0, networks), item('vBds', 1, vbds), item('VCPUs', 0, vcpus)],
      ...[item('Repeat header', 0, repeatHeader), item('Sort order', 0), item('Quit', 0)],
    ].join('  ');
  }
}

/** Shows samples until q, ^C or a signal. `sample` takes the next one. */
export async function runOnTerminal(
  screen: Screen,
  io: Pick<XlIo, 'stdin' | 'stdout'>,
  interrupted: AbortSignal,
  sample: () => Promise<Sample>,
): Promise<void> {
  const { stdin } = io;
  const stdout = io.stdout as NodeJS.WriteStream; // the caller has seen that it is a terminal
  let wake = (): void => {};
  let latest: Sample | undefined;
  const draw = (): void => {
    if (latest === undefined) return;
    const lines = screen.lines(latest, stdout.rows ?? 24, stdout.columns ?? 80);
    stdout.write(HOME + lines.map(line => `${line}${CLEAR_LINE}`).join('\r\n') + CLEAR_BELOW);
  };
  const typed = (chunk: Buffer | string): void => {
    screen.type(chunk.toString());
    draw();
    if (screen.quit) wake();
  };
  const end = (): void => wake();
  stdout.write(ENTER_SCREEN);
  if (stdin.isTTY) stdin.setRawMode?.(true);
  stdin.on('data', typed);
  stdout.on('resize', draw);
  interrupted.addEventListener('abort', end);
  try {
    while (!screen.quit && !interrupted.aborted) {
      latest = await sample();
      draw();
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, screen.delaySeconds * 1000);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (screen.quit || interrupted.aborted) wake();
      });
    }
  } finally {
    interrupted.removeEventListener('abort', end);
    stdout.off('resize', draw);
    stdin.off('data', typed);
    stdin.pause();
    if (stdin.isTTY) stdin.setRawMode?.(false);
    stdout.write(LEAVE_SCREEN);
  }
}
