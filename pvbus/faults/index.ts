export * from './check-plan.ts';
export * from './fault.ts';
export * from './hypercalls.ts';
export * from './planted.ts';
export * from './random.ts';
export * from './steps.ts';
export * from './trigger.ts';
