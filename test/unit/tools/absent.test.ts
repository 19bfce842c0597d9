import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMANDS, XL_4_17 } from '../../../tools/commands/table.ts';
import { xl } from '../../support/xl.ts';

const XL = '/usr/lib/xen-4.17/bin/xl';

describe('a command of xl that has nothing to be about here', () => {
  it.each(['pci-attach', 'vncviewer', 'vtpm-attach', 'psr-hwinfo', 'getenforce', 'save', 'migrate'])(
    '%s says so',
    async name => {
      const { code, stdout, stderr } = await xl([name, 'web']);
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(new RegExp(`^xl ${name}: [^\\n]+\\n$`));
      const help = await xl([name, '-h']);
      expect([help.code, help.stderr]).toEqual([0, '']);
      expect(help.stdout).toMatch(new RegExp(`^Usage: xl \\[-vtTf?\\] ${name} `));
    },
  );
  it.each(['pci-list', 'usb-list', 'vtpm-list'])('%s prints its header', async name => {
    const { code, stdout } = await xl([name, 'web']);
    expect([code, stdout.split('\n').length]).toEqual([0, 2]);
  });
});

describe('the table of commands', () => {
  it('has all of the real one', () => {
    const ours = new Set(COMMANDS.map(({ name }) => name));
    expect(XL_4_17.filter(name => !ours.has(name))).toEqual([]);
  });
  it.skipIf(!existsSync(XL))("whose names are in the real one's program", () => {
    const strings = new Set(readFileSync(XL, 'latin1').split('\0'));
    // The linker keeps one copy of what ends like another string.
    const inside = (name: string): boolean => [...strings].some(text => text.endsWith(name));
    expect(XL_4_17.filter(name => !inside(name))).toEqual([]);
  });
});
