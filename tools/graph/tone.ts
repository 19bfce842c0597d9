// How a state is coloured; it is always written beside it as well.

export type Tone = 'good' | 'bad' | 'other' | 'none';

const TONES: Readonly<Record<string, Tone>> = {
  running: 'good',
  blocked: 'good',
  runnable: 'good',
  connected: 'good',
  crashed: 'bad',
  absent: 'none',
};

export const toneOf = (state: string | null): Tone => (state === null ? 'none' : (TONES[state] ?? 'other'));
