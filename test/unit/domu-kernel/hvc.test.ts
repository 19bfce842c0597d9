// Xen: io/console.h.
import { describe, expect, it } from 'vitest';
import type { Hvc } from '../../../domu-kernel/drivers/hvc/device.ts';
import { LineEditor } from '../../../domu-kernel/drivers/hvc/line-editor.ts';
import { HvcStats } from '../../../domu-kernel/drivers/hvc/stats.ts';
import { HvcWorker } from '../../../domu-kernel/drivers/hvc/worker.ts';
import { consoleApi } from '../../../domu-kernel/guest-api/console.ts';
import { xencons_interface } from '../../../pvbus/abi/console.ts';
import { consoleRing } from '../../../pvbus/byte-ring.ts';
import { privatePage } from '../../../pvbus/page.ts';

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
const text = (b: Uint8Array): string => new TextDecoder().decode(b);

function rig() {
  const page = privatePage();
  const stats = new HvcStats();
  let notified = 0;
  const worker = new HvcWorker(page, () => notified++, stats);
  const { reader, writer } = consoleRing(page, 'back');
  const take = (): string => {
    const into = new Uint8Array(4096);
    return text(into.subarray(0, Math.max(0, reader.read(into))));
  };
  return { page, stats, worker, writer, take, notified: () => notified };
}

describe('console driver', () => {
  it('puts output into the ring at once and notifies once for it', () => {
    const { worker, take, notified } = rig();
    worker.write(bytes('hello\r\n'));
    expect(take()).toBe('hello\r\n');
    expect(notified()).toBe(1);
    expect(worker.drained).toBe(true);
  });

  it('keeps what the ring has no room for, in order, until it has', () => {
    const { worker, take } = rig();
    const long = Array.from({ length: 2000 }, (_, i) => `line ${i}\n`).join('');
    worker.write(bytes(long));
    let all = '';
    for (let part = take(); part !== ''; part = take()) {
      all += part;
      worker.step();
    }
    expect(all).toBe(long);
  });

  it('act 36: loses output that nobody reads, says how much, and never grows without bound', () => {
    const { worker, take, stats } = rig();
    for (let i = 0; i < 1000; i++) worker.write(new Uint8Array(1024).fill(120));
    expect(stats.bytesLost).toBeGreaterThan(500_000);
    let all = '';
    for (let part = take(); part !== ''; part = take()) {
      all += part;
      worker.step();
    }
    expect(all).toMatch(/\[\d+ bytes of output lost\]/);
    expect(all.length + stats.bytesLost).toBeGreaterThan(1_024_000);
  });

  it('act 30: goes on without a console when the backend leaves impossible indices', () => {
    const { page, worker } = rig();
    page.view.setUint32(xencons_interface.at.in_prod, 5000, true);
    expect(worker.step()).toBe('progress');
    expect(worker.step()).toBe('idle');
    worker.write(bytes('into the void'));
    expect(worker.drained).toBe(true);
  });

  it('hands over what is typed', () => {
    const { worker, writer } = rig();
    let got = '';
    worker.onInput = b => {
      got += text(b);
    };
    writer.write(bytes('typed'));
    worker.step();
    expect(got).toBe('typed');
  });
});

describe('line editor', () => {
  const editor = () => {
    let echoed = '';
    let lost = 0;
    const lines = new LineEditor(
      s => {
        echoed += s;
      },
      n => {
        lost += n;
      },
    );
    return { lines, echoed: () => echoed, lost: () => lost };
  };

  it('makes lines of keys: enter, backspace, ^U, ^D', async () => {
    const { lines, echoed } = editor();
    lines.input(bytes('ab\x7fc\r\nwrong\x15right\rlast\n\x04'));
    expect(await lines.read()).toBe('ac');
    expect(await lines.read()).toBe('right');
    expect(await lines.read()).toBe('last');
    expect(await lines.read()).toBe(null);
    expect(echoed()).toContain('ab\b \bc\r\n');
  });

  it('joins characters that come in pieces', async () => {
    const { lines } = editor();
    const line = lines.read();
    for (const byte of bytes('grüße\r')) lines.input(new Uint8Array([byte]));
    expect(await line).toBe('grüße');
  });

  it('bounds the line and the lines that nobody reads', () => {
    const { lines, lost } = editor();
    lines.input(bytes('x'.repeat(10_000)));
    expect(lost()).toBe(10_000 - 4096);
    for (let i = 0; i < 1000; i++) lines.input(bytes('y\r'));
    expect(lost()).toBeGreaterThan(6000);
  });
});

describe("a program's console", () => {
  it("formats as Node's does", () => {
    let out = '';
    const hvc = {
      write(s: string) {
        out += s;
      },
      readLine: async () => 'typed',
    } as unknown as Hvc; // the two calls a console makes
    const console = consoleApi(hvc);
    console.log('%s is %d', 'six', 6, { a: [1, { b: 2 }] });
    console.error(new XenLike('boom'));
    console.table([{ x: 1 }]);
    console.write('no line end');
    expect(out).toContain('six is 6 { a: [ 1, { b: 2 } ] }\n');
    expect(out).toContain('boom');
    expect(out).toContain('│');
    expect(out.endsWith('no line end')).toBe(true);
  });
});
class XenLike extends Error {}
