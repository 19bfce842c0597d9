import { describe, expect, it } from 'vitest';
import { stepUntilIdle } from '../../../domu-kernel/drive.ts';

describe('a vCPU that is driven', () => {
  it('comes back to the promises of its program although a peer always has something new', () => {
    expect(stepUntilIdle({ step: () => 'progress', block: () => {} })).toBe(true);
  });
  it('says whether there was anything to do', () => {
    let left = 3;
    const kernel = { step: () => (left-- > 0 ? 'progress' : 'idle') as 'progress' | 'idle', block: () => {} };
    expect(stepUntilIdle(kernel)).toBe(true);
    expect(stepUntilIdle(kernel)).toBe(false);
  });
});
