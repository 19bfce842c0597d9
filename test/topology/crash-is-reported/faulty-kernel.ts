// The real kernel, with a bug that shows when something is typed at its console: by then its vCPU thread has
// been asleep, and it is the event that wakes it whose handling throws.
import { HvcWorker } from '../../../domu-kernel/drivers/hvc/worker.ts';

export { start } from '../../../domu-kernel/main.ts';

const { step } = HvcWorker.prototype;
HvcWorker.prototype.step = function (this: HvcWorker) {
  const { onInput } = this;
  this.onInput = () => {
    throw new TypeError('a bug in the console driver');
  };
  try {
    return step.call(this);
  } finally {
    this.onInput = onInput;
  }
};
