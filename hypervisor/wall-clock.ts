// The wall clock: what is added to system time to get it. It can be stepped; system time cannot.
import type { Clock } from '#pvbus';

/** Smaller differences are the host's clock being read in whole ms. */
const STEP_MS = 2;
const NS = 1e9;

/** Seconds and nanoseconds since 1970. */
export interface WallTime {
  readonly sec: number;
  readonly nsec: number;
}

export class WallClock {
  private readonly clock: Clock;
  /** The wall clock at system time 0, and the host's then, by which its steps are known. */
  private base: WallTime;
  private hostBaseMs: number;

  constructor(clock: Clock) {
    this.clock = clock;
    this.hostBaseMs = this.measure();
    this.base = after({ sec: 0, nsec: 0 }, this.hostBaseMs);
  }
  private measure(): number {
    return this.clock.wallMs() - this.clock.now() / 1e6;
  }

  /** XENPF_settime: it was `sec` and `nsec` at `systemTime`. */
  set(sec: number, nsec: number, systemTime: number): void {
    this.hostBaseMs = this.measure();
    const seconds = Math.floor(systemTime / NS);
    this.base = normal(sec - seconds, nsec - (systemTime - seconds * NS));
  }
  /** Take over a step of the host's clock, or the time the machine slept. True when there was one. */
  follow(): boolean {
    const now = this.measure();
    const moved = now - this.hostBaseMs;
    if (Math.abs(moved) < STEP_MS) return false;
    this.hostBaseMs = now;
    this.base = after(this.base, moved);
    return true;
  }
  /** At system time 0, for a domain whose clock is off by so much. Never before 1970. */
  atBoot(offsetSeconds: number): WallTime {
    const sec = this.base.sec + offsetSeconds;
    return sec < 0 ? { sec: 0, nsec: 0 } : { sec, nsec: this.base.nsec };
  }
}

function normal(sec: number, nsec: number): WallTime {
  const carry = Math.floor(nsec / NS);
  return { sec: sec + carry, nsec: nsec - carry * NS };
}
function after({ sec, nsec }: WallTime, ms: number): WallTime {
  const whole = Math.floor(ms / 1000);
  return normal(sec + whole, nsec + Math.round((ms - whole * 1000) * 1e6));
}
