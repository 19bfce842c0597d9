// Each .txt here is a conversation with xenstored; its first line says what it shows.
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
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
