// What a benchmark's own small kernel needs: its vCPU, its command line, a console to print results on.
import {
  attachVcpu,
  type ControlMessage,
  consoleRing,
  domain_control,
  getU64,
  PAGE_SIZE,
  port,
  start_info,
  start_info_console,
  start_info_console_domU,
  type Vcpu,
} from '#pvbus';

export interface Boot {
  readonly controlFd: number;
  readonly boot: ControlMessage;
}
export interface Bench {
  readonly vcpu: Vcpu;
  /** key=value words of the command line. */
  readonly args: ReadonlyMap<string, string>;
  /** Print one line of JSON on the console. */
  report(result: Record<string, number>): void;
}

export function benchKernel({ controlFd, boot }: Boot): Bench {
  const vcpu = attachVcpu(controlFd, boot);
  const { view, bytes } = vcpu.memory;
  const info = getU64(view, vcpu.layout.control * PAGE_SIZE + domain_control.at.start_info);
  const domU = info + start_info.at.console + start_info_console.at.domU;
  const output = consoleRing(vcpu.memory.page(getU64(view, domU + start_info_console_domU.at.mfn)), 'front').writer;
  const consolePort = port(view.getUint32(domU + start_info_console_domU.at.evtchn, true));
  const line = bytes.slice(info + start_info.at.cmd_line, info + start_info.at.cmd_line + 1024);
  const text = new TextDecoder().decode(line.subarray(0, line.indexOf(0)));
  const args = new Map(text.split(' ').map(word => word.split('=', 2) as [string, string]));
  const report = (result: Record<string, number>): void => {
    let left: Uint8Array = new TextEncoder().encode(`${JSON.stringify(result)}\n`);
    while (left.length > 0) {
      left = left.subarray(output.write(left));
      vcpu.events.notify(consolePort);
    }
  };
  return { vcpu, args, report };
}

/** Microseconds a round of `rounds` rounds of `body`, `repeats` times. */
export function measure(repeats: number, rounds: number, body: () => void): number[] {
  return Array.from({ length: repeats }, () => {
    const from = performance.now();
    for (let i = 0; i < rounds; i++) body();
    return ((performance.now() - from) * 1000) / rounds;
  });
}
