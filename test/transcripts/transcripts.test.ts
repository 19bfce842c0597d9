// Each .txt here is a conversation with xenstored; its first line says what it shows.
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseTranscript } from '../support/transcript.ts';
import { OP_ERRORS } from './op-errors.ts';
import { playTranscript } from './rig-stage.ts';

const folder = new URL('.', import.meta.url);
const names = readdirSync(folder).filter(name => name.endsWith('.txt'));

for (const name of names) {
  const text = readFileSync(new URL(name, folder), 'utf8');
  const [title = ''] = text.split('\n');
  test(`${name}: ${title.replace(/^# */, '')}`, () => playTranscript(text));
}

test('a transcript that does not hold is a failure that names its line', async () => {
  const wrong = playTranscript('dom0  -  READ /nothing|  ENOENT\ndom0  -  READ /nothing|  OK|');
  await expect(wrong).rejects.toThrow(/line 2/);
  await expect(playTranscript('dom0  -  WATCH /a|t|  OK|')).rejects.toThrow(/EVENT/);
});

test('every message is answered with each of its errors somewhere, and is answered without one', () => {
  const shown = new Map<string, Set<string>>();
  for (const name of names) {
    for (const { who, request, expected } of parseTranscript(readFileSync(new URL(name, folder), 'utf8'))) {
      if (who === 'door' || who === 'clock' || !/^(#|[A-Z])/.test(request)) continue;
      const reply = expected.find(text => !text.startsWith('EVENT ')) ?? '';
      const [op = ''] = request.split(' ');
      shown.set(op, (shown.get(op) ?? new Set()).add(/^E[A-Z0-9]+$/.test(reply) ? reply : 'OK'));
    }
  }
  const table = [...shown].map(([op, replies]) => [op, [...replies].sort().join(' ')]);
  expect(Object.fromEntries(table)).toEqual(OP_ERRORS);
});
