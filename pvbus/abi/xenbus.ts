// Xen: public/io/xenbus.h. The value of the 'state' key of each end of a device, as decimal text.

/** Xen spells them XenbusStateUnknown, XenbusStateInitialising, ... */
export const XenbusState = {
  Unknown: 0, // no such node, or unreadable
  Initialising: 1,
  InitWait: 2, // backend: ready for the frontend's details
  Initialised: 3, // frontend: details written
  Connected: 4,
  Closing: 5,
  Closed: 6,
  Reconfiguring: 7,
  Reconfigured: 8,
} as const;
export type XenbusState = (typeof XenbusState)[keyof typeof XenbusState];
