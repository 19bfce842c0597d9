// A fault plan as a person has written it -> as the toolstack takes it. Every error names the file, the line and the key.

import { checkPlan, type FaultPlan, XenError } from '#pvbus';
import { dotted, readYaml } from '../topology/yaml-lines.ts';

/** Throws EINVAL with one line per error. `name`: the plan's when the file does not say. */
export function readPlan(text: string, file: string, name: string): FaultPlan {
  const { value, errors, lineOf } = readYaml(text, file);
  if (errors.length > 0) throw new XenError('EINVAL', errors.join('\n'));
  const checked = checkPlan(value, name);
  if ('plan' in checked) return checked.plan;
  const lines = checked.problems.map(({ path, message }) => `${file}:${lineOf(path)}: ${dotted(path)}: ${message}`);
  throw new XenError('EINVAL', [...new Set(lines)].join('\n'));
}

/** One fault of `key=value` words. Throws EINVAL naming the word. */
export function planOfWords(words: readonly string[], plan: { name: string; seed: number; fault: string }): FaultPlan {
  const fault: Record<string, string> = {};
  for (const word of words) {
    const [, key, value] = /^([a-z]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (key === undefined) throw new XenError('EINVAL', `${word}: expected key=value`);
    if (Object.hasOwn(fault, key)) throw new XenError('EINVAL', `${word}: ${key} is given already`);
    fault[key] = value ?? 'true';
  }
  const checked = checkPlan({ name: plan.name, seed: plan.seed, faults: [{ name: plan.fault, ...fault }] }, plan.name);
  if ('plan' in checked) return checked.plan;
  const lines = checked.problems.map(({ path, message }) => {
    const key = path.at(-1);
    return typeof key === 'string' && key !== 'faults' ? `${key}: ${message}` : message;
  });
  throw new XenError('EINVAL', [...new Set(lines)].join('\n'));
}
