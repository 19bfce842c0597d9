// What docs/faults.md shows is what there is; test/package runs it as it is printed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readPlan } from '../../../tools/faults/read-plan.ts';
import { readTopology } from '../../../tools/topology/read-topology.ts';
import { root } from '../../support/host-view.ts';

const read = (path: string): string => readFileSync(join(root, path), 'utf8');

describe('docs/faults.md', () => {
  it('shows a test of at most 30 lines and its guest program as they are', () => {
    const doc = read('docs/faults.md');
    const test = read('examples/faults/my-driver.test.ts');
    expect(test.trimEnd().split('\n').length).toBeLessThanOrEqual(30);
    expect(doc).toContain(test);
    expect(doc).toContain(read('examples/faults/my-driver.ts'));
  });
});

it('the plans beside it are good ones', () => {
  const topology = 'examples/faults/lossy-office.yaml';
  expect(readTopology(read(topology), join(root, topology), topology).faults?.faults.length).toBe(2);
  expect(readPlan(read('examples/faults/bad-day.yaml'), 'bad-day.yaml', 'p').faults.length).toBe(4);
  expect(readPlan(read('examples/faults/no-more-ports.yaml'), 'no-more-ports.yaml', 'p').faults.length).toBe(3);
});
