// The scripts of scripts/ come to the same in dash, Debian's sh, and in the guest's shell.
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { byDash, byUs, scriptsIn, whyNoDash } from '../../../support/beside-dash.ts';

const folder = new URL('scripts/', import.meta.url);

describe.skipIf(whyNoDash !== undefined).each(readdirSync(folder))(`%s${whyNoDash ? ` (${whyNoDash})` : ''}`, file => {
  it.each(scriptsIn(new URL(file, folder)))('%s', (_name, script) => {
    expect(byUs(script)).toEqual(byDash(script));
  });
});
