// Files that people write: a topology, a config, xl.conf, a plan of faults. Whatever is in them they are read, or
// refused with lines that name file and line, and never with a stack.

import { checkPlan } from '#pvbus';
import { ConfigError } from '../../../tools/config/config-error.ts';
import { parseXlConf } from '../../../tools/config/parse-xl-conf.ts';
import { readConfig } from '../../../tools/config/read-config.ts';
import { readTopology, TopologyError } from '../../../tools/topology/read-topology.ts';
import fc from '../../support/properties.ts';

const pieces = (...words: string[]) => fc.constantFrom(...words);

const yamlWord = pieces(
  ...[
    'domains',
    'bridges',
    'images',
    'host_ports',
    'hints',
    'name',
    'memory',
    'disk',
    'vif',
    'web',
    'config',
    'faults',
  ],
  ...[
    'path',
    'size',
    'format',
    'label',
    'files',
    'mtu',
    'host',
    'guest',
    'backend',
    'kernel',
    'depends',
    'wait',
    'env',
  ],
  ...[
    ': ',
    ': ',
    ': ',
    ':',
    '- ',
    '\n',
    '\n',
    '\n  ',
    '\n  ',
    '\n    ',
    '[',
    ']',
    '{',
    '}',
    ', ',
    '"',
    "'",
    '#',
    '|',
    '>',
  ],
  ...[
    '&a ',
    '*a',
    '<<: *a',
    '!!js',
    '!!binary ',
    '? ',
    '\t',
    '1',
    '-1',
    '1e99',
    '0x',
    '64M',
    'true',
    '~',
    '.nan',
    '---\n',
  ],
  ...['../../x', '\u0000', '\ufeff', 'é', '%YAML 9.9\n', '__proto__: 1', 'constructor: {}', '2026-01-01', '12:30:45'],
);
const sound =
  'domains:\n  web:\n    kernel: k.js\n    memory: 16\n    disk: ["a.img,raw,xvda,w"]\nbridges:\n  br0: {mtu: 1500}\n';
/** Words in any order, or a sound file with a few of them in it. */
const yaml = fc.oneof(
  fc.array(yamlWord, { maxLength: 30 }).map(words => words.join('')),
  fc
    .array(fc.tuple(fc.nat(sound.length), yamlWord), { minLength: 1, maxLength: 4 })
    .map(edits => edits.reduce((text, [at, word]) => text.slice(0, at) + word + text.slice(at), sound)),
);
const placed = /^topology\.yaml:\d+: ./;

export const topologies = fc.property(yaml, text => {
  try {
    readTopology(text, '/t/topology.yaml', 'topology.yaml');
  } catch (error) {
    if (!(error instanceof TopologyError)) throw error;
    for (const line of error.message.split('\n'))
      if (!placed.test(line)) throw new Error(`an error that names no line: ${JSON.stringify(line)}`);
  }
});

const key = pieces(
  ...['name', 'kernel', 'memory', 'maxmem', 'vcpus', 'maxvcpus', 'disk', 'vif', 'uuid', 'type', 'on_crash', 'cpus'],
  ...['cmdline', 'extra', 'root', 'ramdisk', 'pool', 'cpu_weight', 'cap', 'driver_domain', 'pvcalls', 'bootloader'],
  ...[
    'output_format',
    'claim_mode',
    'vif.default.bridge',
    'vifscript',
    'max_grant_frames',
    'vm.cpumask',
    'autoballoon',
  ],
);
const value = fc.oneof(
  pieces(
    ...[
      '"a"',
      '16',
      '-1',
      '1.5',
      '0x10',
      '99999999999999999999',
      '""',
      '"x,raw,xvda,w"',
      '"bridge=b,mac=00:16:3e:00:00:00"',
    ],
    ...[
      '[]',
      '["a","b"]',
      '["x,raw,xvda,w","y,raw,xvdb,r"]',
      '[1,2]',
      '[["a"]]',
      '"0-3,^2"',
      '"all"',
      '"../x"',
      '"a\\nb"',
    ],
    ...[
      '"$(id)"',
      'true',
      'None',
      '["mac=zz"]',
      '["format=qcow2,vdev=xvda"]',
      '["backend=x"]',
      '"\\x00"',
      '[',
      '"',
      "'",
    ],
  ),
  fc.string({ maxLength: 12 }).map(text => JSON.stringify(text)),
);
const config = fc
  .array(fc.tuple(key, pieces(' = ', '=', '+=', ' ', ' = = '), value, pieces('\n', ';', '', '\n\n')), { maxLength: 8 })
  .map(lines => `name = "n"\nkernel = "k"\n${lines.flat().join('')}`);

/** Only what a config is refused with; a line of it is no stack's. */
function refusal(body: () => unknown): void {
  try {
    body();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (error.message === '' || /\n\s+at /.test(error.message))
      throw new Error(`an error that says nothing: ${error.message}`);
  }
}
const random = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(7);
export const configs = fc.property(config, text =>
  refusal(() => readConfig(Buffer.from(text), 'a.cfg', [], { cwd: '/', random, warn: () => {} })),
);
export const assignments = fc.property(fc.array(fc.string({ maxLength: 30 }), { maxLength: 4 }), given =>
  refusal(() =>
    readConfig(Buffer.from('name="n"\nkernel="k"\n'), 'a.cfg', given, { cwd: '/', random, warn: () => {} }),
  ),
);
export const xlConfs = fc.property(fc.oneof(config, fc.string()), text =>
  refusal(() => parseXlConf(Buffer.from(text), 'xl.conf', () => {})),
);

const planKey = pieces(
  ...[
    'name',
    'disk',
    'network',
    'event',
    'process',
    'xenstore',
    'nth',
    'after',
    'every',
    'probability',
    'seed',
    'while',
  ],
  ...['drop', 'delay', 'error', 'times', 'for', 'domain', 'device', 'part', 'when', 'what', 'action', '__proto__'],
);
const planValue = fc.oneof(
  fc.constantFrom<unknown>(
    true,
    0,
    -1,
    1,
    2 ** 53,
    Number.NaN,
    1e300,
    null,
    '',
    '5s',
    '-1ms',
    'EIO',
    'xvda',
    '1000000d',
  ),
  fc.string({ maxLength: 8 }),
  fc.jsonValue({ maxDepth: 2 }),
);
const fault = fc.oneof(fc.dictionary(planKey, planValue, { maxKeys: 6 }), planValue);
export const plans = fc.property(
  fc.oneof(fc.array(fault, { maxLength: 4 }), fc.dictionary(planKey, fault), planValue),
  given => {
    const checked = checkPlan(given, 'plan');
    if ('problems' in checked && checked.problems.some(({ message }) => message === ''))
      throw new Error('a problem that says nothing');
  },
);
