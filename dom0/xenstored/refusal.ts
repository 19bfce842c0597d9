// Why a request is not done. Refusals are answers like others and as frequent: "it does not exist" is what many
// clients want to know. So they carry no stack trace, which alone would cost many times what the request does.
import { XenError } from '#pvbus';
import type { QuotaName } from './quota.ts';

export class Refusal extends XenError {
  constructor(code: string, message: string) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(code, message);
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** What a domain may have of this it has. */
export class OverQuota extends Refusal {
  readonly quota: QuotaName;

  constructor(quota: QuotaName, message: string, code = 'ENOSPC') {
    super(code, message);
    this.quota = quota;
  }
}
