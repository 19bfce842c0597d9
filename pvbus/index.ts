export * from './domain-config.ts';
export * from './toolstack-frames.ts';
export * from './toolstack-protocol.ts';
