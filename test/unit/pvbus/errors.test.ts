import { describe, expect, it } from 'vitest';
import { checked, ERRNO, errnoName, errnoOf, gntstName, XenError, xsErrorNames, xsTypeName } from '#pvbus';

describe('errno', () => {
  it('has Xen’s numbers and their names (errno.h)', () => {
    expect(ERRNO.EPERM).toBe(1);
    expect(ERRNO.EOPNOTSUPP).toBe(95);
    expect(errnoName(22)).toBe('EINVAL');
    expect(errnoName(-3)).toBe('ESRCH');
    expect(errnoOf('ENOSPC')).toBe(28);
  });

  it('names a number with an alias by the older name', () => {
    expect(errnoName(11)).toBe('EAGAIN');
    expect(errnoName(35)).toBe('EDEADLK');
    expect(errnoOf('EWOULDBLOCK')).toBe(11);
  });

  it('goes from name to number and back for every name but the aliases', () => {
    const aliases = ['EWOULDBLOCK', 'EDEADLOCK'];
    const names = Object.keys(ERRNO).filter(name => !aliases.includes(name));
    expect(names.map(name => errnoName(errnoOf(name)))).toEqual(names);
    expect(names.length).toBeGreaterThan(40);
  });

  it('says what it does not know, and never makes a success of it', () => {
    expect(errnoName(4000)).toBe('errno 4000');
    expect(errnoOf('EWHATEVER')).toBe(ERRNO.EIO);
    expect(errnoOf('toString')).toBe(ERRNO.EIO);
  });
});

describe('a hypercall result', () => {
  it('passes when not negative, and otherwise throws its name with what was attempted', () => {
    expect(checked(7, 'alloc_unbound for dom3')).toBe(7);
    expect(() => checked(-28, 'alloc_unbound for dom3')).toThrow(
      expect.objectContaining({ name: 'XenError', code: 'ENOSPC', message: 'alloc_unbound for dom3: ENOSPC' }),
    );
  });
});

describe('XenError', () => {
  it('carries a code, a message and a cause', () => {
    const cause = new Error('disk full');
    const error = new XenError('ENOSPC', 'image of dom3', cause);
    expect(error).toBeInstanceOf(Error);
    expect([error.code, error.message, error.cause]).toEqual(['ENOSPC', 'image of dom3', cause]);
    expect('cause' in new XenError('EIO', 'no cause')).toBe(false);
  });
});

describe('the other vocabularies', () => {
  it('names grant statuses (grant_table.h)', () => {
    expect(gntstName(0)).toBe('GNTST_okay');
    expect(gntstName(-9)).toBe('GNTST_bad_page');
    expect(gntstName(5)).toBe('GNTST 5');
  });

  it('knows the errors a xenstore reply may carry (io/xs_wire.h)', () => {
    expect(xsErrorNames).toContain('EAGAIN');
    expect(xsErrorNames).not.toContain('ESRCH');
    for (const name of xsErrorNames) expect(errnoName(errnoOf(name))).toBe(name);
  });

  it('names xenstore messages', () => {
    expect(xsTypeName(0)).toBe('XS_CONTROL');
    expect(xsTypeName(1)).toBe('XS_DIRECTORY');
    expect(xsTypeName(15)).toBe('XS_WATCH_EVENT');
    expect(xsTypeName(20)).toBe('XS 20');
  });
});
