// Programs in C, prepared and run beside one another on a real clock: no kernel, no host.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { prepareProgram, systemClock } from '#pvbus';
import { seededRandom } from '../../../support/random.ts';
import { UserlandRig } from '../../../support/userland-rig.ts';
import { compileWasi, whyNoWasi } from '../../../support/wasi-cc.ts';

const missing = whyNoWasi();
const source = fileURLToPath(new URL('acts.c', import.meta.url));
let acts: Uint8Array;
let rig: UserlandRig;
const FRAMES = 32_768;

beforeAll(async () => {
  if (missing === undefined) acts = prepareProgram(readFileSync(await compileWasi(source, { flags: ['-O1'] })));
});
beforeEach(() => {
  rig = new UserlandRig({ clock: systemClock, frames: FRAMES });
  if (missing !== undefined) return;
  rig.sh('mkdir /bin');
  rig.write('/bin/acts.wasm', acts);
});

describe.skipIf(missing !== undefined)(`a WASI program${missing ? ` (${missing})` : ''}`, () => {
  it('has arguments, an environment, a directory and an exit status', () => {
    expect(rig.sh('mkdir /d; cd /d; A=x acts env 1 2; acts exit 42')).toEqual({ out: '/d x 4\n', status: 42 });
    expect(rig.sh('acts nothing').out).toBe('no such act\n');
  });

  it('says the same whether it is suspended a thousand times or never', () => {
    let x = 1;
    for (let n = 0; n < 50_000_000; n++) x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    expect(rig.sh('acts sum 50000000').out).toBe(`${x}\n`);
    expect(rig.sh('acts fib 30').out).toBe('832040\n');
  });

  it('is suspended where its stack is deep', () => {
    expect(rig.sh('(sleep 0.05; echo 7) | acts deep 2000').out).toBe('2007\n');
  });

  it('works in pipelines with others, all on one vCPU', () => {
    expect(rig.sh('acts write 20000 | acts cat | acts cat | wc -l').out).toBe('20000\n');
    expect(rig.sh('acts write 1000000 | head -n 2').out).toBe('line 0\nline 1\n');
    expect(rig.userland.processes.list()).toEqual([]);
  });

  it('gives the vCPU up after its slice, in a loop and in recursion', () => {
    for (const act of ['spin', 'fib 60'])
      expect(rig.sh(`acts ${act} & for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.001; done; kill $!; wait $!`).status).toBe(
        143,
      );
  });

  it('ends with the signal that its trap is', () => {
    expect(rig.sh('acts abort')).toEqual({ out: 'acts: unreachable\n', status: 134 });
    expect(rig.sh('acts wild')).toEqual({ out: 'acts: memory access out of bounds\n', status: 139 });
    expect(rig.sh('acts endless').status).toBe(139);
  });

  it('ends by a signal while it computes, waits or is stopped', () => {
    for (const act of ['spin', 'sleep 100000']) {
      expect(rig.sh(`acts ${act} & sleep 0.01; kill -TERM $!; wait $!`).status).toBe(143);
      expect(rig.sh(`acts ${act} & sleep 0.01; kill -STOP $!; sleep 0.01; kill -9 $!; wait $!`).status).toBe(137);
    }
    expect(rig.sh('acts sum 30000000 & kill -STOP $!; sleep 0.02; kill -CONT $!; wait $!').out).toMatch(/^\d+\n$/);
  });

  it('has no more memory than its domain, and its limit', () => {
    expect(rig.sh('acts grow 10').out).toBe('10 MiB\n');
    const { out, status } = rig.sh('acts grow 1000');
    expect(Number.parseInt(out, 10)).toBeGreaterThan(100);
    expect(Number.parseInt(out, 10)).toBeLessThan(128);
    expect(status).toBe(1);
    expect(Number.parseInt(rig.sh('ulimit -v 8192; acts grow 100').out, 10)).toBeLessThan(8);
    expect(rig.sh('ulimit -v 64; acts exit').out).toMatch(/ENOMEM/);
    expect(rig.frames.available).toBe(FRAMES);
  });

  it('shares what is free with others, and gives it back when it ends', () => {
    const until = (condition: string): string => `until ${condition}; do sleep 0.001; done`;
    const holds = `{ ${until('[ -f /go ]')}; echo; } | acts grow 60 wait > /first &`;
    const script = `${holds} ${until('[ -s /first ]')}; acts grow 100; touch /go; wait; cat /first; acts grow 100`;
    const [second, first, third] = rig.sh(script).out.split('\n');
    expect(first).toBe('60 MiB');
    expect(Number.parseInt(second!, 10)).toBeLessThan(68);
    expect(third).toBe('100 MiB');
    expect(rig.frames.available).toBe(FRAMES);
  });

  it('leaves no page, no descriptor and no wait, a hundred times over, however it ends', () => {
    const { seed, random } = seededRandom();
    const any = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
    const ways = ['exit 3', 'spin', 'sleep 1000', 'grow 3', 'grow 500', 'abort', 'cat', 'write 100000', 'deep 300'];
    const input = rig.userland.terminal.queue;
    for (let n = 0; n < 100; n++) {
      const left = any(ways);
      const right = any(ways);
      rig.sh(
        `acts ${left} 2>/dev/null | acts ${right} >/dev/null 2>&1 & sleep 0.00${n % 3}; kill -${any(['INT', 'KILL', 'TERM'])} $!; kill %1; wait`,
      );
      rig.run({ until: () => rig.userland.processes.list().length === 0 });
      if (rig.frames.available !== FRAMES)
        throw new Error(`seed ${seed}, turn ${n}: ${left} | ${right}: ${FRAMES - rig.frames.available} frames`);
      expect(input.isEmpty).toBe(true);
    }
  });

  it('is refused when it is none, asks for what there is not, or says that it is prepared and is not', () => {
    rig.write('/bad', Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 9, 9));
    rig.write('/short', Uint8Array.of(0, 0x61, 0x73, 0x6d));
    rig.write('/cut', acts.subarray(0, acts.length >> 1));
    for (const name of ['/bad', '/short', '/cut']) {
      const { out, status } = rig.sh(name);
      expect([name, status, out]).toEqual([name, 126, expect.stringMatching(/ENOEXEC/)]);
    }
    expect(rig.frames.available).toBe(FRAMES);
  });

  it('is prepared when it starts where nobody has done that, and compiled once', async () => {
    rig.write('/plain', readFileSync(await compileWasi(source, { flags: ['-O1'] })));
    expect(rig.sh('/plain exit 5; echo $?; /plain exit 6; echo $?').out).toBe('5\n6\n');
  });
});
