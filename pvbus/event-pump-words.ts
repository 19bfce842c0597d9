// What an event pump and its helper thread share.

/** What the thread is started with. */
export interface EventPumpData {
  readonly shared: Int32Array;
}

export const PUMP_STATE = 0;
export const PUMP_COUNT = 1;
/** domid * 2^16 + vCPU: for its lines in the log. */
export const PUMP_WHO = 2;
export const PUMP_FIRST = 3;
/** Address low, address high, value seen. */
export const PUMP_ENTRY_WORDS = 3;

/** There is no pump yet: its process may wait long for what it is to become. */
export const PUMP_UNMADE = 0;
export const PUMP_IDLE = 1;
export const PUMP_ARMED = 2;
