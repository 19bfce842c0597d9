import { describe, expect, it } from 'vitest';
import { Scrollback } from '../../../../../dom0/backends/consoled/scrollback.ts';
import fc from '../../../../support/properties.ts';

describe('scrollback', () => {
  it('is empty before anything was written', () => {
    expect(new Scrollback(8).contents()).toEqual(new Uint8Array(0));
  });

  it('holds the last bytes of whatever was written, in order', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }), chunks => {
        const scrollback = new Scrollback(16);
        for (const chunk of chunks) scrollback.append(chunk);
        const all = Buffer.concat(chunks);
        expect(Buffer.from(scrollback.contents())).toEqual(all.subarray(Math.max(0, all.length - 16)));
      }),
    );
  });
});
