// What Xen's current xs_wire.h and xenstore-ring.txt define beyond the header Debian has.

export const XS_GET_FEATURE = 23;
export const XS_SET_FEATURE = 24;
export const XS_GET_QUOTA = 25;
export const XS_SET_QUOTA = 26;

/** WATCH takes a depth. */
export const XENSTORE_SERVER_FEATURE_WATCHDEPTH = 4;
/** Permissions may name DOMID_ANY. */
export const XENSTORE_SERVER_FEATURE_DOMID_ANY = 8;
