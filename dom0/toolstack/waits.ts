// Tools that wait for a domain's end.
import { type DomainEnd, type Domid, XenError } from '#pvbus';

interface Wait {
  readonly domid: Domid;
  readonly until: DomainEnd['what'];
  resolve(end: DomainEnd): void;
}

export class Waits {
  readonly #waits = new Set<Wait>();

  wait(domid: Domid, until: DomainEnd['what'], abandoned: AbortSignal): Promise<DomainEnd> {
    return new Promise((resolve, reject) => {
      const give = (): void => {
        this.#waits.delete(wait);
        reject(new XenError('ECANCELED', 'nobody waits any more'));
      };
      const wait: Wait = {
        domid,
        until,
        resolve: end => {
          this.#waits.delete(wait);
          abandoned.removeEventListener('abort', give);
          resolve(end);
        },
      };
      this.#waits.add(wait);
      abandoned.addEventListener('abort', give, { once: true });
    });
  }

  /** A domain that is destroyed ends every wait for it. */
  end(domid: Domid, end: DomainEnd): void {
    for (const wait of [...this.#waits]) {
      if (wait.domid === domid && (end.what === 'destroyed' || wait.until === end.what)) wait.resolve(end);
    }
  }
}
