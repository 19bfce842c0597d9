// A run as text: what was chosen, line by line, for people to read and for a later run to repeat.
import { type Choice, isVerb, told } from './actions.ts';

const MARK = 'xenolith simulation';

export interface Trace {
  readonly seed: number;
  readonly slots: number;
  readonly choices: readonly Choice[];
}

export function written({ seed, slots, choices }: Trace, about: readonly string[] = []): string {
  const head = [`# ${MARK}`, ...about.flatMap(text => text.split('\n')).map(line => `# ${line}`)];
  return `${[...head, `seed ${seed}`, `guests ${slots}`, ...choices.map(told)].join('\n')}\n`;
}

/** Throws an Error naming the line that is none. */
export function parsed(text: string): Trace {
  let seed = 0;
  let slots = 3;
  const choices: Choice[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    const [verb, target, arg] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (!verb) continue;
    if (verb === 'seed') seed = Number(target);
    else if (verb === 'guests') slots = Number(target);
    else if (isVerb(verb) && target !== undefined && /^[0-9]+$/.test(arg ?? ''))
      choices.push({ verb, target, arg: Number(arg) });
    else throw new Error(`line ${i + 1} is no choice: ${line}`);
  }
  return { seed, slots, choices };
}
