import { describe, expect, it } from 'vitest';
import { ACTIONS, checkPlan, describeFault, milliseconds, PARTS, readPlanted, TOOLSTACK_STEPS } from '#pvbus';

const good = (fault: object) => {
  const checked = checkPlan([fault], 'p');
  if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
  return checked.plan.faults[0]!;
};
const wrong = (plan: unknown): string[] => {
  const checked = checkPlan(plan, 'p');
  return 'problems' in checked ? checked.problems.map(({ path, message }) => `${path.join('.')}: ${message}`) : [];
};

describe('a fault', () => {
  it('is taken as YAML, a command line or a test writes it', () => {
    expect(good({ part: 'disk', domain: 'web', device: 'xvda', op: 'write', nth: 3, error: 'EIO' })).toEqual({
      ...{ name: 'fault-1', part: 'disk', domain: 'web', device: 'xvda', op: 'write', nth: [3], error: 'EIO' },
    });
    expect(good({ part: 'disk', domain: '4', sectors: '8-15', nth: '1,5', for: '2s', delay: '0.5s' })).toEqual({
      ...{ name: 'fault-1', part: 'disk', domain: 4, sectors: [8, 15], nth: [1, 5], for: 2000, delay: 500 },
    });
    expect(good({ part: 'net', probability: '30%', drop: 'true' })).toMatchObject({ probability: 0.3, drop: true });
    expect(good({ part: 'xenstore', path: '/local', while: '/a/b=1', error: 'EAGAIN' })).toMatchObject({
      while: { path: '/a/b', is: '1' },
    });
    expect(good({ part: 'clock', shift: '-1h' })).toMatchObject({ shift: -3_600_000 });
    expect(good({ part: 'process', domain: 'web', kill: true })).toMatchObject({ process: 'domain', times: 1 });
    expect(good({ part: 'process', process: 'hypervisor', exhaust: 'memory', left: '16M', for: '1s' })).toMatchObject({
      ...{ process: 'hypervisor', exhaust: 'memory', left: 16 << 20, for: 1000 },
    });
    expect(good({ part: 'disk', kill: 'after' })).toMatchObject({ kill: 'after', times: 1 });
  });
  it('that was taken is taken again, also as a planted one', () => {
    const fault = good({ part: 'net', domain: 'a.b', peer: 3, op: 'tx', every: 2, corrupt: 5, after: '1m' });
    expect(good(fault)).toEqual(fault);
    const planted = { plan: 'p', seed: 5, startedNs: 123, fault, counts: { seen: 4, injected: 2 } };
    expect(readPlanted(JSON.stringify(planted))).toEqual(planted);
    for (const text of ['', '{', '[]', 'null', '{"plan":"p"}', '{"plan":"p","seed":1,"fault":{"part":"disk"}}'])
      expect(() => readPlanted(text), text).toThrow(/planted fault/);
  });

  const cases: [string, object, string | RegExp][] = [
    [
      'a key that is nearly one',
      { part: 'disk', dommain: 'x', error: 'EIO' },
      '0.dommain: there is no such key; do you mean domain?',
    ],
    ['no part', { error: 'EIO' }, '0: part is missing'],
    ['a part that is none', { part: 'disc', error: 'EIO' }, '0.part: there is no "disc"; do you mean disk?'],
    ['nothing that happens', { part: 'disk' }, '0: what happens is one of error'],
    ['two things that happen', { part: 'disk', error: 'EIO', delay: 5 }, '0: error and delay are two faults'],
    ['what another part does', { part: 'disk', drop: true }, '0.drop: not of disk; that has error'],
    ['a selector of another part', { part: 'clock', domain: 'x', shift: 1 }, '0.domain: not of clock; that has none'],
    [
      'a hypercall that is nearly one',
      { part: 'hypercall', op: 'EVTCHNOP_sent', error: 'EPERM' },
      '0.op: there is no "EVTCHNOP_sent"; do you mean EVTCHNOP_send?',
    ],
    [
      'a hypercall that is none',
      { part: 'hypercall', op: 'SCHEDOP_nope', error: 'EPERM' },
      /^0\.op: expected SCHEDOP_yield or SCHEDOP_block or [\w ]{30,60} or \d+ others, not "SCHEDOP_nope"$/,
    ],
    [
      'a hypercall like none',
      { part: 'hypercall', op: 'x'.repeat(1000), error: 'EPERM' },
      /^0\.op: expected memory_op or [\w ]{80,120} or \d+ others, not "x{40}"$/,
    ],
    [
      'an error of no hypercall',
      { part: 'hypercall', error: 'EROFS' },
      /^0\.error: expected EPERM or EAGAIN or .*, not "EROFS"$/,
    ],
    [
      'a hypercall of a device',
      { part: 'hypercall', device: 'xvda', delay: 1 },
      '0.device: not of hypercall; that has',
    ],
    ['an op of another part', { part: 'net', op: 'write', drop: true }, '0.op: expected rx or tx'],
    [
      'an op that is no text',
      { part: 'net', op: { toString: 1 }, drop: true },
      'expected rx or tx, not of type object',
    ],
    ['an error of another part', { part: 'grant', error: 'EIO' }, '0.error: expected no_space or eagain'],
    ['copies of a disk', { part: 'grant', op: 'copy', type: 'vbd', error: 'eagain' }, '0.type: the backend of a vbd'],
    ['a short connect', { part: 'pvcalls', op: 'connect', short: 1 }, '0.short: connect moves no bytes'],
    ['an error of no socket', { part: 'pvcalls', op: 'send', error: 'ENOSPC' }, '0.error: expected ECONNREFUSED or'],
    ['a grant of a console', { part: 'grant', type: 'console', error: 'eagain' }, '0.type: expected vbd or vif'],
    [
      'a kill at an event of xenstored',
      { part: 'event', type: 'xenstore', kill: true },
      '0.kill: of xenstored that is',
    ],
    ['a device of xenstored', { part: 'event', type: 'xenstore', device: 0, drop: true }, '0.device: xenstored has no'],
    ['a short mkdir', { part: '9pfs', op: 'mkdir', short: 1 }, '0.short: mkdir moves no bytes'],
    ['a path in no folder', { part: '9pfs', path: '@x', drop: true }, '0.path: expected a path in the folder'],
    [
      'an op that 9P does not have',
      { part: '9pfs', op: 'open', drop: true },
      '0.op: there is no "open"; do you mean lopen?',
    ],
    ['a device of a console', { part: 'console', device: 0, stall: true }, '0.device: not of console; that has domain'],
    ['a torn read', { part: 'disk', op: 'read', torn: 512 }, '0.torn: a read cannot be so'],
    ['an occurrence 0', { part: 'disk', nth: 0, error: 'EIO' }, '0.nth: expected the number of an occurrence'],
    ['sectors backwards', { part: 'disk', sectors: '9-8', error: 'EIO' }, '0.sectors: expected a sector'],
    ['a probability above 1', { part: 'disk', probability: 2, error: 'EIO' }, '0.probability: expected a probability'],
    [
      'an occurrence of time',
      { part: 'process', process: 'dom0', nth: 2, kill: true },
      '0.nth: process counts nothing',
    ],
    ['a process and nothing of which', { part: 'process', process: 'domain', kill: true }, '0: domain is missing'],
    ['an end of the hypervisor', { part: 'process', process: 'hypervisor', kill: true }, '0.process: the host ends'],
    ['something left of nothing', { part: 'process', process: 'dom0', kill: true, left: 1 }, '0.left: of what?'],
    [
      'a process of the host at a device',
      { part: 'disk', process: 'dom0', kill: true },
      '0.process: of disk: expected',
    ],
    ['the guest of nothing', { part: 'process', process: 'guest', kill: true }, '0.process: of process: expected dom0'],
    [
      'a guest that nothing becomes of',
      { part: 'net', process: 'guest', drop: true },
      '0.process: what becomes of it?',
    ],
    ['a port that is none', { part: 'event', port: 0, drop: true }, '0.port: expected a whole number from 1'],
    ['what lasts, twice', { part: 'process', process: 'dom0', exhaust: 'memory', times: 2 }, '0.times: it lasts'],
    ['no number left', { part: 'process', process: 'dom0', exhaust: 'memory', left: 'few' }, '0.left: expected a'],
    ['no time', { part: 'disk', delay: 'soon' }, '0.delay: expected a time'],
    ['a name with a slash', { name: 'a/b', part: 'disk', error: 'EIO' }, '0.name: expected a name'],
    ['a path that is none', { part: 'xenstore', path: 'a', error: 'EIO' }, "0.path: expected a path, from '/' on"],
    ['a path of no folder', { part: '9pfs', path: 'a', drop: true }, "0.path: expected a path, from '/' on"],
    [
      'a key like none',
      { part: 'disk', colour: 'red', delay: 1 },
      '0.colour: a fault has no such key; it has name part',
    ],
    ['a vif for a disk', { part: 'disk', device: 'vif0', error: 'EIO' }, '0.device: vif0 is a vif: expected a vbd'],
    ['a disk for a vif', { part: 'net', device: 'xvda', drop: true }, '0.device: xvda is a vbd: expected a vif'],
    [
      'a disk among sockets',
      { part: 'pvcalls', device: 'xvda', delay: 1 },
      '0.device: xvda is a vbd: expected a pvcalls',
    ],
    [
      'a vif among the events of disks',
      { part: 'event', type: 'vbd', device: 'vif0', drop: true },
      '0.device: vif0 is a vif',
    ],
    [
      'a process that is none',
      { part: 'process', process: 'dom1', kill: true },
      '0.process: there is no "dom1"; do you',
    ],
    [
      'a step that is none',
      { part: 'toolstack', op: 'create', step: 'memroy', error: 'EIO' },
      '0.step: there is no "memroy"; do you mean memory?',
    ],
    [
      'a step of something else',
      { part: 'toolstack', op: 'attach', step: 'unpause', error: 'EIO' },
      '0.step: expected config or nodes or backend or record, not "unpause"',
    ],
    [
      'a step beyond the last',
      { part: 'toolstack', op: 'detach', step: '5', error: 'EIO' },
      '0.step: expected a whole number from 1 to 4',
    ],
    ['a step of nothing', { part: 'toolstack', step: 'boot', kill: true }, '0.step: expected config or domain or'],
  ];
  it.each(cases)('with %s is refused by its key', (_, fault, message) => {
    const found = wrong([fault]);
    expect(found.length).toBe(1);
    expect(found[0]).toMatch(message);
  });

  it('says in one line what it is', () => {
    expect(describeFault(good({ part: 'disk', domain: 'web', device: 'xvda', op: 'write', error: 'EIO' }))).toBe(
      'disk write of web/xvda: error EIO',
    );
    expect(describeFault(good({ part: 'disk', domain: 'web', kill: 'after', process: 'guest' }))).toBe(
      'disk of web: kill after of the guest',
    );
    expect(describeFault(good({ part: 'process', process: 'xenstored', stop: '2s' }))).toBe(
      'process of xenstored: stop 2000 ms',
    );
    expect(describeFault(good({ part: 'net', domain: 'web', peer: 'db', drop: true }))).toBe(
      'net of web with db: drop',
    );
    expect(describeFault(good({ part: 'disk', sectors: '8-15', error: 'EIO' }))).toBe('disk sectors 8-15: error EIO');
    expect(describeFault(good({ part: 'event', type: 'vbd', port: 4, drop: true }))).toBe('event vbd port 4: drop');
    expect(describeFault(good({ part: 'grant', op: 'map', gref: 9, error: 'eagain' }))).toBe(
      'grant map gref 9: error eagain',
    );
  });
});

it('a cache that keeps all or a share, whose blocks are told of a share only', () => {
  const [all, half] = [
    { part: 'disk', op: 'write', cache: true },
    { part: 'disk', op: 'write', cache: '50%', atomic: '4096' },
  ];
  expect(good(all)).toMatchObject({ cache: true });
  expect(good(half)).toMatchObject({ cache: 0.5, atomic: 4096 });
  expect(describeFault(good(half))).toBe('disk write: cache 50 %');
  expect(wrong([{ ...all, atomic: 4096 }])).toEqual(['0.atomic: of what is kept in part: cache=50%']);
  expect(wrong([{ ...half, atomic: 700 }])).toEqual(['0.atomic: expected sectors in bytes: 512, 4096']);
  expect(wrong([{ ...half, cache: 'half' }])).toContain('0.cache: expected true, or a share such as 50%');
});

describe('a plan', () => {
  it('is a map or a list, and is called as it says or as it is told', () => {
    const faults = [{ part: 'clock', shift: '1h' }];
    expect(checkPlan({ name: 'n', seed: 3, duration: '5s', faults }, 'p')).toMatchObject({
      plan: { name: 'n', seed: 3, duration: 5000 },
    });
    expect(checkPlan(faults, 'p')).toMatchObject({ plan: { name: 'p', seed: 0 } });
  });
  it('names everything that is wrong at once', () => {
    expect(wrong(3)).toEqual([expect.stringContaining(': expected a plan')]);
    expect(wrong({ faults: 3, sede: 1 })).toEqual([
      expect.stringContaining('sede: a plan has no such key'),
      'faults: expected a list of faults',
    ]);
    const twice = { name: 'a', part: 'disk', error: 'EIO' };
    expect(wrong([twice, twice])).toEqual(['1.name: two faults are called a']);
    expect(wrong({ seed: -1, faults: [{ part: 'disk' }, null] }).length).toBe(3);
  });
});

it('times are read with their units', () => {
  expect(['5', '5ms', '1.5s', '2m', '1h', '1d', '-3s'].map(milliseconds)).toEqual([
    ...[5, 5, 1500, 120_000, 3_600_000, 86_400_000, -3000],
  ]);
  expect(milliseconds('5 weeks')).toBeUndefined();
});

it('every action is some part’s, and every part has one', () => {
  const all = new Set(Object.values(PARTS).flatMap(({ actions }) => actions as readonly string[]));
  expect([...all].sort()).toEqual([...ACTIONS].sort());
  expect(Object.keys(TOOLSTACK_STEPS)).toEqual([...PARTS.toolstack.ops]);
});
