// The steps of what the toolstack does, in their order: a fault of part `toolstack` comes before the one that it names.

export const TOOLSTACK_STEPS = {
  create: ['config', 'domain', 'memory', 'xenstore', 'introduce', 'devices', 'unpause', 'created'],
  destroy: ['domain', 'console', 'devices', 'nodes', 'backends', 'gone', 'records'],
  attach: ['config', 'nodes', 'backend', 'record'],
  detach: ['unplug', 'closed', 'nodes', 'record'],
} as const;
export type ToolstackOpName = keyof typeof TOOLSTACK_STEPS;
export type ToolstackStep<O extends ToolstackOpName = ToolstackOpName> = (typeof TOOLSTACK_STEPS)[O][number];
