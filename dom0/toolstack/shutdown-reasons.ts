// Why a domain shut down, as words and as the config's keys.
import {
  type DomainConfig,
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_soft_reset,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
  type ShutdownAction,
} from '#pvbus';

/** For a sentence about the domain: "has ...". */
export function reasonText(reason: number): string {
  switch (reason) {
    case SHUTDOWN_poweroff:
      return 'shut down';
    case SHUTDOWN_reboot:
      return 'asked to be rebooted';
    case SHUTDOWN_suspend:
      return 'suspended itself';
    case SHUTDOWN_crash:
      return 'crashed';
    case SHUTDOWN_watchdog:
      return 'been stopped by its watchdog';
    case SHUTDOWN_soft_reset:
      return 'asked for a soft reset';
    default:
      return `shut down with unknown reason ${reason}`;
  }
}

/** What the config wants done, and under which key. Unknown reasons count as a poweroff, as in xl. */
export function actionFor(config: DomainConfig, reason: number): { key: string; action: ShutdownAction } {
  switch (reason) {
    case SHUTDOWN_reboot:
      return { key: 'on_reboot', action: config.on_reboot };
    case SHUTDOWN_suspend:
      // Xen: a domain that suspends outside of a save is left to whoever saves it.
      return { key: 'suspend', action: 'preserve' };
    case SHUTDOWN_crash:
      return { key: 'on_crash', action: config.on_crash };
    case SHUTDOWN_watchdog:
      return { key: 'on_watchdog', action: config.on_watchdog };
    case SHUTDOWN_soft_reset:
      return { key: 'on_soft_reset', action: config.on_soft_reset };
    default:
      return { key: 'on_poweroff', action: config.on_poweroff };
  }
}
