// The log of the one who watches over a domain: log/xl-NAME.log of the run directory, with the lines of xl's monitor.
import { appendFileSync, renameSync, rmSync, statSync } from 'node:fs';
import type { Log } from '#pvbus';

/** Xen: libxl keeps so many older ones beside it, .1 being the youngest. */
const KEPT = 10;

export class MonitorLog {
  readonly #path: string;
  readonly #log: Log;

  private constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** A new file at `path`; the one that is there becomes `path`.1. Trouble with it is told to `log`. */
  static begin(path: string, log: Log): MonitorLog {
    const monitorLog = new MonitorLog(path, log);
    monitorLog.#tried(() => rotate(path));
    return monitorLog;
  }
  /** The one that is at `path`, as another process has left it. */
  static goOn(path: string, log: Log): MonitorLog {
    return new MonitorLog(path, log);
  }
  line(text: string): void {
    this.#tried(() => appendFileSync(this.#path, `${text}\n`, { mode: 0o600 }));
  }

  /** A full disk is no reason to leave a domain alone. */
  #tried(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.#log.warn(`${this.#path}: ${error instanceof Error ? error.message : error}`);
    }
  }
}

function rotate(path: string): void {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0) return;
  rmSync(`${path}.${KEPT}`, { force: true });
  for (let n = KEPT - 1; n > 0; n--) {
    if (statSync(`${path}.${n}`, { throwIfNoEntry: false }) !== undefined)
      renameSync(`${path}.${n}`, `${path}.${n + 1}`);
  }
  renameSync(path, `${path}.1`);
}
