// What a topology file may hold. Keys of a domain that are not ours are xl.cfg's.

import { z } from 'zod';
import { checkPlan, type FaultPlan, messageOf, nearName, parseBridgePort } from '#pvbus';
import { XL_KEYS } from '../config/keys.ts';

/** An integer with b, k, m, g or t behind it, MiB without: as `xl mem-set` takes it. */
const size = z
  .union([z.int().min(1), z.string().regex(/^[0-9]+[bkmgt]?$/i, 'expected a size: a number, then k, m, g or t')])
  .transform(value => {
    const [, digits, unit] = /^([0-9]+)([bkmgt]?)$/i.exec(String(value))!; // the pattern above
    return Number(digits) * 1024 ** 'bkmgt'.indexOf(unit?.toLowerCase() || 'm');
  })
  .refine(bytes => bytes >= 512 && bytes <= 2 ** 43, 'expected a size from 512 bytes to 8 TiB');

const port = z.int().min(1).max(65_535);
const path = z.string().min(1);

const bridgePort = z.string().superRefine((value, context) => {
  try {
    parseBridgePort(value);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
  }
});

const bridge = z
  .union([
    z.string(),
    z.strictObject({
      name: z.string(),
      mtu: z.int().min(68).max(65_535).optional(),
      ports: z.array(bridgePort).optional(),
    }),
  ])
  .transform((value): { name: string; mtu?: number | undefined; ports?: string[] | undefined } =>
    typeof value === 'string' ? { name: value } : value,
  )
  .refine(({ name }) => /^[A-Za-z0-9_.-]{1,15}$/.test(name), 'expected a bridge name of at most 15 characters')
  .transform(({ name, mtu, ports }) => ({ name, mtu: mtu ?? 1500, ports: ports ?? [] }));

/** From the image's path to the host's; a directory stands for what is in it. */
const files = z.union([path, z.array(path), z.record(path, path)]).transform((value): Record<string, string[]> => {
  if (typeof value === 'string') return { '/': [value] };
  if (Array.isArray(value)) return { '/': value };
  return Object.fromEntries(Object.entries(value).map(([to, from]) => [to, [from]]));
});

const image = z
  .strictObject({
    path,
    size,
    format: z.enum(['raw', 'fat']).default('raw'),
    label: z
      .string()
      .regex(/^[\x20-\x7e]{1,11}$/, 'expected a label of at most 11 characters')
      .optional(),
    files: files.optional(),
    recreate: z.boolean().default(false),
  })
  .superRefine((value, context) => {
    for (const key of ['label', 'files'] as const) {
      if (value.format === 'fat' || value[key] === undefined) continue;
      context.addIssue({ code: 'custom', path: [key], message: 'only an image of format fat has this' });
    }
  });

const hostPort = z.strictObject({ host: z.int().min(0).max(65_535), domain: z.string(), guest: port });

const hint = z.union([z.strictObject({ url: z.string() }), z.strictObject({ try: z.string() })]);

type YamlValue = string | number | boolean | YamlValue[];
const xlValue: z.ZodType<YamlValue> = z.lazy(() =>
  z.union([z.string(), z.number(), z.boolean(), z.array(xlValue)], {
    error: 'expected text, a number, true, false or a list of them',
  }),
);

const OURS = ['config', 'after', 'paused'];

const domain = z
  .looseObject({
    config: path.optional(),
    after: z.union([z.string().transform(name => [name]), z.array(z.string())]).default([]),
    paused: z.boolean().default(false),
  })
  .superRefine((value, context) => {
    for (const [key, entry] of Object.entries(value)) {
      if (OURS.includes(key)) continue;
      const problem = (message: string): void => context.addIssue({ code: 'custom', path: [key], message });
      if (value.config !== undefined) problem(`${value.config} says what the domain is; this would say it twice`);
      else if (!XL_KEYS.has(key)) problem(`neither xl.cfg nor a topology has this key${suggestion(key)}`);
      else if (!xlValue.safeParse(entry).success) problem('expected text, a number, true, false or a list of them');
    }
  })
  .transform(({ config, after, paused, ...keys }) => ({
    ...{ config, after, paused },
    keys: keys as Record<string, YamlValue>, // each was checked just above
  }));

/** A plan, or only its faults; what is wrong with it is named by its own keys. */
const faults = z
  .unknown()
  .optional()
  .transform((value, context): FaultPlan | undefined => {
    if (value === undefined) return undefined;
    const checked = checkPlan(value, 'topology');
    if ('plan' in checked) return checked.plan;
    for (const { path, message } of checked.problems) context.addIssue({ code: 'custom', path: [...path], message });
    return z.NEVER;
  });

export const topologySchema = z.strictObject({
  name: z.string().optional(),
  bridges: z.array(bridge).default([]),
  images: z.array(image).default([]),
  domains: z.record(z.string(), domain),
  host_ports: z.array(hostPort).default([]),
  hints: z.array(hint).default([]),
  faults,
});
export type TopologyFile = z.output<typeof topologySchema>;
export type ImageSpec = TopologyFile['images'][number];
export type BridgeSpec = TopologyFile['bridges'][number];
export type DomainEntry = TopologyFile['domains'][string];

/** `, do you mean memory?` when one letter more, less or other would do. */
export function suggestion(key: string, known: Iterable<string> = [...XL_KEYS, ...OURS]): string {
  const near = nearName(key, known);
  return near === undefined ? '' : `; do you mean ${near}?`;
}
