// What the kernel of this test and the test itself both know.

/** In each byte of a page that is shared. */
export const PATTERN = 0x5a;
/** Of the port that the hypervisor of this test has a bug for. */
export const THE_BUG = 0xb06;
