// `clock` and `system`.
import type { Kernel } from '../kernel.ts';

export function clockApi({ clock, timers }: Pick<Kernel, 'clock' | 'timers'>): typeof import('xenolith').clock {
  return {
    now: () => clock.now() / 1e6,
    virtual: () => clock.virtual() / 1e6,
    date: () => new Date(clock.wallMs()),
    sleep: ms =>
      new Promise(resolve => {
        timers.after(Math.max(0, ms), resolve);
      }),
    async *every(ms) {
      const period = ms * 1e6;
      for (let next = clock.now() + period, n = 0; ; n++) {
        await new Promise<void>(resolve => {
          timers.set(next, resolve);
        });
        yield n;
        next += period * Math.max(1, Math.ceil((clock.now() - next) / period));
      }
    },
  };
}

export function systemApi(kernel: Kernel): typeof import('xenolith').system {
  const { xs, home } = kernel;
  const absolute = (path: string): string => (path.startsWith('/') ? path : `${home}/${path}`);
  let nextToken = 1;
  return {
    domid: kernel.vcpu.domid,
    get name() {
      return kernel.name;
    },
    memory: kernel.info.nr_pages / 256,
    cmdline: kernel.info.cmdline,
    args: kernel.args,
    onShutdown: hook => kernel.onShutdown(hook),
    shutdown: () => kernel.shutdown('poweroff'),
    reboot: () => kernel.shutdown('reboot'),
    store: {
      read: path => xs.read(absolute(path)),
      write: (path, value) => xs.write(absolute(path), value),
      list: path => xs.directory(absolute(path)),
      async watch(path, changed) {
        const token = `program:${nextToken++}`;
        // A program's code runs as a task of its own, never inside the kernel's.
        await xs.watch(absolute(path), token, at => kernel.tasks.add(() => changed(at)));
        return () => xs.unwatch(absolute(path), token);
      },
    },
  };
}
