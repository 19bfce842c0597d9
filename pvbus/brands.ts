// Numbers the compiler keeps apart. The casts are here and nowhere else.

export type Domid = number & { readonly __brand: 'domid' };
export type Gref = number & { readonly __brand: 'gref' };
export type EvtchnPort = number & { readonly __brand: 'port' };
export type Gfn = number & { readonly __brand: 'gfn' };

export const domid = (n: number): Domid => n as Domid;
export const gref = (n: number): Gref => n as Gref;
export const port = (n: number): EvtchnPort => n as EvtchnPort;
export const gfn = (n: number): Gfn => n as Gfn;
