// A run as text: the conversation it was, which is read back to do it again.
//
//   who    tx       request            what it then received, up to the next line
//   dom0   -        WRITE /d/a|1       EVENT /d/a|t|  OK|
//   dom3   t1       READ data|         ENOENT
//   &      -        READ other|        OK|
//   door   -        destroys 3
//
// `|` is a NUL; `{x*40}` 40 times x; `\xNN` a byte; t1 is the client's oldest open transaction, t9 none it ever
// had. `&`: sent in one go with the line before it. Before a request `cut 3,17` says where it was cut into pieces,
// `half 5` that only so many bytes of it were sent, and the rest before its client's next line. `deaf`: it reads
// nothing until its next line; `hang-up`: it connects anew; `daemon restart`: killed, and succeeded by one with its
// journal.
import * as pvbus from '#pvbus';
import * as newer from '../../../dom0/xenstored/newer-wire.ts';
import type { Ask, DoorAct, Step } from './steps.ts';

const NUMBERS = new Map(
  Object.entries({ ...pvbus, ...newer })
    .filter(([name, value]) => name.startsWith('XS_') && typeof value === 'number' && value < 100)
    .filter(([name]) => !name.startsWith('XS_WATCH_') || name === 'XS_WATCH_EVENT')
    .filter(([name]) => name !== 'XS_TYPE_COUNT')
    .map(([name, value]) => [name.slice(3), value as number]),
);
const NAMES = new Map([...NUMBERS].map(([name, value]) => [value, name]));

export const nameOfType = (type: number): string => NAMES.get(type) ?? `#${type}`;
/** Throws for no type. */
export function typeOfName(name: string): number {
  const type = name.startsWith('#') ? Number(name.slice(1)) : NUMBERS.get(name);
  if (type === undefined) throw new Error(`no message ${name}`);
  return type;
}

export function shown(bytes: string): string {
  return bytes
    .replace(/(.)\1{15,}/gs, (run, char: string) => `\u0100${char}\u0101${run.length}\u0102`)
    .replace(/[^\x21-\x7a\u0100-\u0102\0~]|\\|"/g, char => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
    .replaceAll('\0', '|')
    .replaceAll('\u0100', '{')
    .replaceAll('\u0101', '*')
    .replaceAll('\u0102', '}');
}
export function read(text: string): string {
  const char = (shown: string): string =>
    shown === '|' ? '\0' : shown.startsWith('\\x') ? String.fromCharCode(Number.parseInt(shown.slice(2), 16)) : shown;
  return text.replace(/\{(\\x..|.)\*([0-9]+)\}|\\x..|\|/g, (all, repeated: string | undefined, n: string) =>
    repeated === undefined ? char(all) : char(repeated).repeat(Number(n)),
  );
}

function requestText({ type, tx, payload }: Ask): string {
  const column = tx === 0 ? '-' : `t${tx}`;
  return `${column.padEnd(7)} ${nameOfType(type)} ${shown(payload)}`;
}
const line = (who: string, rest: string): string => `${who.padEnd(6)} ${rest}`.trimEnd();

/** Lines of a step, one for each request and one for what comes before. */
export function stepLines(step: Step): string[] {
  switch (step.kind) {
    case 'ask': {
      const cut = step.cuts.length > 0 ? [line(step.who, `cut ${step.cuts.join(',')}`)] : [];
      return [...cut, ...step.asks.map((ask, i) => line(i === 0 ? step.who : '&', requestText(ask)))];
    }
    case 'half':
      return [line(step.who, `half ${step.bytes}`), line(step.who, requestText(step.ask))];
    case 'door':
      return [line('door', `-       ${step.act} ${step.domid}`)];
    case 'restart':
      return [line('daemon', step.kind)];
    default:
      return [line(step.who, step.kind)];
  }
}

/** The steps of a text. What was received is not looked at. */
export function parseSteps(text: string): Step[] {
  const steps: Step[] = [];
  let cuts: number[] = [];
  let half: number | undefined;
  for (const [i, raw] of text.split('\n').entries()) {
    if (raw.trim() === '' || raw.startsWith('#')) continue;
    const wrong = (why: string): Error => new Error(`line ${i + 1}: ${why}: ${raw}`);
    const [, who = '', rest = ''] = /^(\S+) +(.*)$/.exec(raw) ?? [];
    const [, kind, parameter = ''] = /^(cut|half|deaf|hang-up)(?: ([0-9,]+))?$/.exec(rest.trim()) ?? [];
    if (kind === 'cut') cuts = parameter.split(',').map(Number);
    else if (kind === 'half') half = Number(parameter);
    else if (kind === 'deaf' || kind === 'hang-up') steps.push({ kind, who });
    else if (who === 'daemon') steps.push({ kind: 'restart' });
    else if (who === 'door') {
      const [, act, domid] = /^- +([a-z-]+) ([0-9]+)/.exec(rest) ?? [];
      if (act === undefined) throw wrong('no act');
      steps.push({ kind: 'door', act: act as DoorAct, domid: Number(domid) });
    } else {
      const [, tx = '', name = '', payload = ''] = /^(-|t[0-9]+) +(\S+) ?(\S*)/.exec(rest) ?? [];
      const ask: Ask = { type: typeOfName(name), tx: tx === '-' ? 0 : Number(tx.slice(1)), payload: read(payload) };
      const last = steps.at(-1);
      if (who === '&' && last?.kind === 'ask') steps[steps.length - 1] = { ...last, asks: [...last.asks, ask] };
      else if (half === undefined) steps.push({ kind: 'ask', who, asks: [ask], cuts });
      else steps.push({ kind: 'half', who, ask, bytes: half });
      cuts = [];
      half = undefined;
    }
  }
  return steps;
}
