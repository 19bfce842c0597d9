import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../../../tools/config/settings.ts';
import { type DomainStep, describeStep, planTopology, type Step, sizeText } from '../../../../tools/topology/plan.ts';
import { readTopology, TopologyError } from '../../../../tools/topology/read-topology.ts';

const read = (text: string) => readTopology(text, '/srv/office/topology.yaml', 'topology.yaml');
const CONFIGS: Record<string, string> = {
  '/srv/office/db.cfg': 'name="db"\nkernel="dist/k.js"\nmemory=64\nbios="seabios"\n',
  '/srv/office/other.cfg': 'name="somebody"\nkernel="k"\n',
  '/srv/office/bad.cfg': 'name="bad"\nmemory=12M\n',
  '/srv/office/sulky.cfg': 'name="sulky"\nkernel="k"\non_crash="sulk"\n',
};

function plan(text: string): { steps: Step[]; warnings: string[] } {
  const warnings: string[] = [];
  const steps = planTopology(read(text), {
    cwd: '/home/me',
    random: bytes => new Uint8Array(bytes).fill(7),
    warn: line => warnings.push(line),
    readFile: path => {
      const text = CONFIGS[path];
      if (text === undefined)
        throw new ConfigError(`Failed to read config file: ${path}: No such file or directory`, 3);
      return Buffer.from(text);
    },
  });
  return { steps, warnings };
}
const message = (text: string): string => {
  try {
    plan(text);
  } catch (error) {
    if (error instanceof TopologyError) return error.message;
    throw error;
  }
  throw new Error('no error');
};
const domain = (steps: readonly Step[], name: string): DomainStep => {
  const found = steps.find(step => step.kind === 'domain' && step.config.name === name);
  if (found?.kind !== 'domain') throw new Error(`no domain ${name}`);
  return found;
};

const OFFICE = `
bridges: [office, { name: lab, mtu: 9000 }]
images:
  - { path: www.img, size: 16M, format: fat, label: WWW, files: www }
  - { path: /var/scratch.img, size: 2g }
domains:
  web:
    kernel: k.js
    ramdisk: web.ts
    memory: 32
    vcpus: 2
    disk: ["www.img,raw,xvda,w"]
    vif: ["mac=00:16:3e:07:00:10,bridge=office"]
    after: [db]
  db: { config: db.cfg, paused: true }
  pinger:
    kernel: /k.js
    on_crash: restart
    driver_domain: false
    disk: ["backend=stor,vdev=xvda,target=/y"]
  stor: { kernel: k.js, driver_domain: true }
host_ports:
  - { host: 8080, domain: web, guest: 80 }
hints:
  - url: http://127.0.0.1:8080/
  - try: curl -d 'buy milk' http://127.0.0.1:8080/notes
`;

describe('a plan', () => {
  it('has images, then bridges, then each domain behind those it needs', () => {
    expect(plan(OFFICE).steps.map(describeStep)).toEqual([
      'image www.img (fat, 16 MiB)',
      'image /var/scratch.img (raw, 2 GiB)',
      'bridge office',
      'bridge lab',
      'domain db, paused',
      'domain web after db',
      'domain stor',
      'domain pinger after stor',
    ]);
    const { steps } = plan(OFFICE);
    expect(['db', 'web', 'stor', 'pinger'].map(name => domain(steps, name).level)).toEqual([0, 1, 0, 1]);
  });

  it('reads relative paths from where the file is', () => {
    const { steps } = plan(OFFICE);
    expect(steps[0]).toMatchObject({
      path: '/srv/office/www.img',
      files: { '/': ['/srv/office/www'] },
      size: 16 << 20,
    });
    expect(domain(steps, 'web').config).toMatchObject({
      ...{ kernel: '/srv/office/k.js', ramdisk: '/srv/office/web.ts', memory: 32, vcpus: 2 },
      disks: [{ target: '/srv/office/www.img', vdev: 'xvda', devid: 51712, readwrite: true }],
      vifs: [{ mac: '00:16:3e:07:00:10', bridge: 'office' }],
    });
  });

  it('leaves those inside an xl.cfg to mean what they mean to xl create', () => {
    expect(domain(plan(OFFICE).steps, 'db').config.kernel).toBe('/home/me/dist/k.js');
  });

  it('has the driver domain of the example before those it serves, and needs no kernel for it', () => {
    const path = fileURLToPath(new URL('../../../../examples/driver-domain/topology.yaml', import.meta.url));
    const { steps, warnings } = plan(readFileSync(path, 'utf8'));
    expect(steps.map(describeStep)).toEqual([
      'image diary.img (fat, 8 MiB)',
      'domain storage',
      'domain diary after storage',
      'domain pinger after storage',
    ]);
    expect(domain(steps, 'storage').config).toMatchObject({ driver_domain: true, kernel: '', vcpus: 3 });
    expect(warnings).toEqual([]);
  });

  it('has the gateway of the example before its guests, with what it may reach', () => {
    const path = fileURLToPath(new URL('../../../../examples/gateway/topology.yaml', import.meta.url));
    const { steps, warnings } = plan(readFileSync(path, 'utf8'));
    expect(steps.map(describeStep).slice(-3)).toEqual([
      'domain gateway',
      'domain one after gateway',
      'domain two after gateway',
    ]);
    expect(domain(steps, 'gateway').config.pvcalls).toMatchObject([{ allow: ['0.0.0.0/0'], resolver: 53 }]);
    expect(warnings).toEqual([]);
  });

  it('makes a listen of each host port', () => {
    expect(domain(plan(OFFICE).steps, 'web').config.pvcalls).toEqual([
      {
        devid: 0,
        backend: null,
        listen: [{ host: 8080, guest: 80 }],
        connect: [],
        sockets: null,
        allow: [],
        resolver: null,
      },
    ]);
  });

  it('takes YAML values as xl.cfg has them', () => {
    const { config } = domain(plan(OFFICE).steps, 'pinger');
    expect(config).toMatchObject({ on_crash: 'restart', driver_domain: false, extra: {} });
  });

  it('says once which keys mean nothing here', () => {
    expect(plan(OFFICE).warnings).toEqual([
      'topology.yaml: domain db: /srv/office/db.cfg: warning: without meaning here: bios',
    ]);
  });
});

describe('a topology that is wrong is refused with file, line and key', () => {
  it.each<[string, string]>([
    ['domains: {}\n<<: *a\n', 'topology.yaml:2: Unresolved alias (the anchor must be set before the alias): a'],
    ['? a:\n    b: 1\ndomains: {}\n', 'topology.yaml:1: { a: { b: 1 } }: there is no such key'],
    ['domains: {}\nbridge: [x]\n', 'topology.yaml:2: bridge: there is no such key; do you mean bridges?'],
    ['bridges: [a]\n', 'topology.yaml:1: domains: it is missing'],
    [
      'domains:\n  web:\n    kernel: k\n    memroy: 1\n',
      'topology.yaml:4: domains.web.memroy: neither xl.cfg nor a topology has this key; do you mean memory?',
    ],
    [
      'domains:\n  web:\n    kernel: k\n    memory: lots\n',
      "topology.yaml:4: domains.web.memory: parameter `memory' is not a valid number",
    ],
    [
      'domains:\n  web:\n    memory: 8\n',
      'topology.yaml:2: domains.web.kernel: Neither kernel nor bootloader specified',
    ],
    [
      'domains:\n  web:\n    kernel: k\n    on_crash: sulk\n',
      'topology.yaml:4: domains.web.on_crash: Unknown on_crash action "sulk" specified',
    ],
    [
      'domains:\n  web:\n    kernel: k\n    vif:\n      - bridge=b\n      - mac=1\n',
      "topology.yaml:6: domains.web.vif[1]: Invalid parameter `mac'.",
    ],
    [
      'domains:\n  web:\n    kernel: k\n    disk: ["/x,raw,xvda", "/y,row,xvdb"]\n',
      'topology.yaml:4: domains.web.disk[1]: config parsing error in disk specification: ',
    ],
    [
      'domains:\n  web:\n    kernel: k\n    vcpus: 0\n',
      'topology.yaml:4: domains.web.vcpus: invalid number of vcpus: vcpus=0',
    ],
    [
      'domains:\n  sulky: { config: sulky.cfg }\n',
      'topology.yaml:2: domains.sulky: /srv/office/sulky.cfg:3: Unknown on_crash action "sulk" specified',
    ],
    [
      'domains:\n  web:\n    kernel: k\n    vif: { a: 1 }\n',
      'topology.yaml:4: domains.web.vif: expected text, a number, true, false or a list of them',
    ],
    [
      'domains:\n  web:\n    config: db.cfg\n    memory: 1\n',
      'topology.yaml:4: domains.web.memory: db.cfg says what the domain is; this would say it twice',
    ],
    [
      'domains:\n  web:\n    paused: maybe\n    kernel: k\n',
      'topology.yaml:3: domains.web.paused: expected true or false',
    ],
    [
      'domains:\n  web: { config: nosuch.cfg }\n',
      'topology.yaml:2: domains.web: Failed to read config file: /srv/office/nosuch.cfg: No such file or directory',
    ],
    [
      'domains:\n  web: { config: other.cfg }\n',
      'topology.yaml:2: domains.web: other.cfg says name="somebody", the topology calls it web',
    ],
    [
      'domains:\n  a: { kernel: k, after: b }\n  b: { kernel: k, after: [a] }\n',
      'topology.yaml:2: domains.a.after: it waits for itself: a after b after a',
    ],
    ['domains:\n  a:\n    kernel: k\n    after: [zz]\n', 'topology.yaml:4: domains.a.after: there is no domain zz'],
    [
      'domains: {}\nimages:\n  - path: a\n    size: huge\n',
      'topology.yaml:4: images[0].size: expected a size: a number, then k, m, g or t',
    ],
    ['domains: {}\nimages:\n  - path: a\n', 'topology.yaml:3: images[0].size: it is missing'],
    [
      'domains: {}\nimages:\n  - path: a\n    size: 1M\n    format: ext4\n',
      'topology.yaml:5: images[0].format: expected raw or fat',
    ],
    [
      'domains: {}\nimages:\n  - path: a\n    size: 1M\n    label: X\n',
      'topology.yaml:5: images[0].label: only an image of format fat has this',
    ],
    [
      'domains: {}\nimages:\n  - {path: a, size: 1M}\n  - {path: ./a, size: 1M}\n',
      'topology.yaml:4: images[1]: /srv/office/a is there twice',
    ],
    [
      'domains: {}\nbridges: [a-name-far-too-long]\n',
      'topology.yaml:2: bridges[0]: expected a bridge name of at most 15 characters',
    ],
    [
      'domains: {}\nhost_ports:\n  - {host: 80, domain: web, guest: 80}\n',
      'topology.yaml:3: host_ports[0]: there is no domain web',
    ],
    [
      'domains: {}\nhost_ports:\n  - {host: 80, domain: web, guest: 99999}\n',
      'topology.yaml:3: host_ports[0].guest: expected at most 65535',
    ],
    [
      'domains:\n  a: {kernel: k, pvcalls: ["listen=1:2"]}\n  b: {kernel: k, pvcalls: ["listen=1"]}\n',
      "topology.yaml:3: domains.b: host port 1 is a's already",
    ],
    ['domains: [a]\n', 'topology.yaml:1: domains: expected a map'],
    ['- a\n', 'topology.yaml:1: the file: expected a map'],
    ['domains:\n  a: {\n', 'topology.yaml:3: '],
    ['domains:\n  a: {kernel: k}\n  a: {kernel: k}\n', 'topology.yaml:3: Map keys must be unique'],
  ])('%j', (text, expected) => {
    expect(message(text).split('\n')[0]).toContain(expected);
  });

  it('all that is wrong is said at once', () => {
    expect(message('domains:\n  a: 1\n  b: {paused: 1}\nhint: []\n').split('\n')).toEqual([
      'topology.yaml:2: domains.a: expected a map',
      'topology.yaml:3: domains.b.paused: expected true or false',
      'topology.yaml:4: hint: there is no such key; do you mean hints?',
    ]);
  });
});

it('sizes read well', () => {
  expect([512, 1024, 1536, 16 << 20, 3 * 2 ** 30, 2 ** 40].map(sizeText)).toEqual([
    ...['512 bytes', '1 KiB', '1536 bytes', '16 MiB', '3 GiB', '1 TiB'],
  ]);
});

describe('a key of the wrong type', () => {
  it.each([
    ['disk: "a.img,raw,xvda,w"', "parameter `disk' is a single value but should be a list"],
    ['vif: bridge=xenbr0', "parameter `vif' is a single value but should be a list"],
    ['ramdisk: [a.ts]', "parameter `ramdisk' is a list but should be a single value"],
    ['localtime: often', "parameter `localtime' is not a valid number"],
  ])('is an error: %s', (key, said) => {
    const text = `domains:\n  web:\n    kernel: k.js\n    ${key}\n`;
    expect(message(text)).toBe(`topology.yaml:4: domains.web.${key.split(':')[0]}: ${said}`);
  });
});
