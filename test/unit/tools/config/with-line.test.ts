import { describe, expect, it } from 'vitest';
import { XenError } from '#pvbus';
import { keyPlaces } from '../../../../tools/config/read-config.ts';
import { withLine } from '../../../../tools/config/with-line.ts';

const CONFIG = Buffer.from('name = "web"\nkernel = "k.js"\n\ndisk = [\n  "/x,raw,xvda,w",\n]\n');
const at = keyPlaces(CONFIG, 'web.cfg', ['memory=64']);
const told = (message: string, source = 'web.cfg'): string =>
  (withLine(new XenError('EINVAL', message), source, at) as XenError).message;

describe('what the toolstack says of a config', () => {
  it.each([
    ['web.cfg: kernel: k.js does not exist', 'web.cfg:2: kernel: k.js does not exist'],
    ['web.cfg: disk xvda: /x does not exist', 'web.cfg:4: disk xvda: /x does not exist'],
    ['web.cfg: memory: 64 MiB asked for', 'web.cfg:8: memory: 64 MiB asked for'],
    // xl.cfg needs no such key: there is no line to name.
    ['web.cfg: uuid: somebody has it', 'web.cfg: uuid: somebody has it'],
    ['web.cfg: 7 of 9', 'web.cfg: 7 of 9'],
    ['other.cfg: kernel: no', 'other.cfg: kernel: no'],
  ])('%s: with the line of its key', (message, expected) => {
    expect(told(message)).toBe(expected);
  });

  it('is as it was without a file, and keeps its code and libxl’s', () => {
    expect(told(': kernel: no', '')).toBe(': kernel: no');
    const cause = { rc: -6 };
    const error = new XenError('ENOENT', 'web.cfg: kernel: no', cause);
    expect(withLine(error, 'web.cfg', at)).toMatchObject({ code: 'ENOENT', cause });
    const other = new Error('web.cfg: kernel: no');
    expect(withLine(other, 'web.cfg', at)).toBe(other);
  });
});
