import { expect, it } from 'vitest';
import { Cleanup } from '#pvbus';

it('undoes in reverse, one after the other, each step once', async () => {
  const done: string[] = [];
  const cleanup = new Cleanup();
  cleanup.add('first', () => void done.push('first'));
  cleanup.add('second', async () => {
    await new Promise(resolve => setImmediate(resolve));
    done.push('second');
  });
  cleanup.add('third', () => void done.push('third'));
  await Promise.all([cleanup.run(), cleanup.run()]);
  await cleanup.run();
  expect(done).toEqual(['third', 'second', 'first']);
});

it('a step that fails stops no other, and is named at the end', async () => {
  const done: string[] = [];
  const cleanup = new Cleanup();
  cleanup.add('grant 9', () => void done.push('grant 9'));
  cleanup.add('port 5', () => {
    throw new Error('busy');
  });
  cleanup.add('page', () => Promise.reject('mapped'));
  await expect(cleanup.run()).rejects.toMatchObject({ message: 'could not undo page: mapped; port 5: busy' });
  expect(done).toEqual(['grant 9']);
});

it('a step added while undoing is undone too, and after a run it can be used again', async () => {
  const done: string[] = [];
  const cleanup = new Cleanup();
  cleanup.add('outer', () => cleanup.add('inner', () => void done.push('inner')));
  await cleanup.run();
  cleanup.add('later', () => void done.push('later'));
  await cleanup.run();
  expect(done).toEqual(['inner', 'later']);
});

it('forgets its steps when another owner took over', async () => {
  const done: string[] = [];
  const cleanup = new Cleanup();
  cleanup.add('port', () => void done.push('port'));
  cleanup.disarm();
  await cleanup.run();
  expect(done).toEqual([]);
});
