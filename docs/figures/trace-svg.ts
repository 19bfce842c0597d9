// A part of a trace as a picture: `node --import tsx docs/figures/trace-svg.ts trace.json [FROM_US LENGTH_US] > trace.svg`.
// Without a part it takes the busiest 4 ms, by arrows between domains.
import { readFileSync } from 'node:fs';

interface Event {
  ph: string;
  name: string;
  cat?: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  id?: number;
  args?: { name?: string };
}

const WIDTH = 1100;
const LABELS = 230;
const ROW = 24;
const TOP = 30;
const COLOURS =
  '#4e79a7 #f28e2b #59a14f #b07aa1 #e15759 #76b7b2 #9c755f #edc948 #ff9da7 #bab0ac #8cd17d #499894 #d37295 #a0a0a0'.split(
    ' ',
  );

const [file = 'trace.json', fromText, lengthText] = process.argv.slice(2);
const events: Event[] = JSON.parse(readFileSync(file, 'utf8')).traceEvents;
const key = ({ pid, tid }: Event): string => `${pid}/${tid}`;
const label = new Map<string, string>();
for (const event of events) {
  if (event.name === 'process_name') label.set(`${event.pid}`, event.args?.name ?? '');
  if (event.name === 'thread_name') label.set(key(event), event.args?.name ?? '');
}
const starts = new Map(events.filter(e => e.ph === 's').map(e => [e.id, e]));
const arrows = events
  .filter(e => e.ph === 'f' && starts.has(e.id))
  .map(to => ({ from: starts.get(to.id) as Event, to }));

const length = Number(lengthText ?? 4000);
const from = fromText === undefined ? busiest() : Number(fromText);
const to = from + length;

/** Where the most arrows between domains are. */
function busiest(): number {
  const between = arrows.filter(a => a.from.pid !== a.to.pid).map(a => a.from.ts);
  const inside = (at: number): number => between.filter(ts => ts >= at && ts < at + length).length;
  let best = between[0] ?? 0;
  for (const at of between) if (inside(at) > inside(best)) best = at;
  return best - length * 0.02;
}

const shown = events.filter(e => e.ph === 'X' && e.ts < to && e.ts + (e.dur ?? 0) >= from);
const tracks = [...new Map(shown.map(e => [key(e), e])).values()].sort((a, b) => a.pid - b.pid || a.tid - b.tid);
const row = new Map(tracks.map((track, i) => [key(track), i]));
const x = (ts: number): number => LABELS + ((Math.min(Math.max(ts, from), to) - from) / length) * (WIDTH - LABELS - 10);
const y = (event: Event): number => TOP + (row.get(key(event)) ?? 0) * ROW;
const text = (s: string): string => s.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
/** One for each vCPU that has a pCPU here, and for each kind of event, in the order in which they come. */
const colours = new Map<string, string>();
const isVcpu = (event: Event): boolean => / v\d+$/.test(event.name);
function colour(event: Event): string {
  const what = isVcpu(event) ? event.name : event.name.replace(/ (\d.*|of .*)$/, '');
  if (!colours.has(what)) colours.set(what, COLOURS[colours.size % COLOURS.length] as string);
  return colours.get(what) as string;
}
const inOrder = [...shown].sort((a, b) => Number(isVcpu(b)) - Number(isVcpu(a)) || a.ts - b.ts);
for (const event of inOrder) colour(event);

const LEGEND = 4;
const bottom = TOP + tracks.length * ROW;
const height = bottom + 12 + Math.ceil(colours.size / LEGEND) * 18;
const out = [
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">`,
  `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
  '<defs><marker id="a" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="5" markerHeight="5" orient="auto">' +
    '<path d="M0 0L6 3L0 6z" fill="#c33"/></marker></defs>',
];
for (let i = 0; i <= 8; i++) {
  const at = from + (length * i) / 8;
  out.push(`<path d="M${x(at)} ${TOP - 8}V${bottom}" stroke="#ddd"/>`);
  const anchor = i === 8 ? 'end' : 'middle';
  out.push(`<text x="${x(at)}" y="${TOP - 12}" text-anchor="${anchor}" fill="#666">${Math.round(at - from)} µs</text>`);
}
for (const track of tracks) {
  const name = `${label.get(`${track.pid}`)}: ${label.get(key(track))}`.replace('pCPUs: ', '');
  out.push(`<text x="4" y="${y(track) + 15}">${text(name)}</text>`);
  out.push(`<path d="M0 ${y(track) + ROW - 1}H${WIDTH}" stroke="#eee"/>`);
}
for (const event of shown) {
  const width = Math.max(3, x(event.ts + (event.dur ?? 0)) - x(event.ts));
  out.push(
    `<rect x="${x(event.ts).toFixed(1)}" y="${y(event) + 2}" width="${width.toFixed(1)}" height="${ROW - 6}" rx="1" ` +
      `fill="${colour(event)}"><title>${text(event.name)}</title></rect>`,
  );
  if (width > event.name.length * 6 + 6)
    out.push(`<text x="${(x(event.ts) + 3).toFixed(1)}" y="${y(event) + 15}" fill="#fff">${text(event.name)}</text>`);
}
for (const { from: a, to: b } of arrows) {
  if (a.ts < from || b.ts > to || !row.has(key(a)) || !row.has(key(b))) continue;
  const [x1, y1, x2, y2] = [x(a.ts), y(a) + ROW / 2, x(b.ts), y(b) + ROW / 2];
  const bend = Math.max(12, (x2 - x1) / 2);
  out.push(
    `<path d="M${x1.toFixed(1)} ${y1}C${(x1 + bend).toFixed(1)} ${y1} ${(x2 - bend).toFixed(1)} ${y2} ${x2.toFixed(1)} ${y2}" ` +
      'fill="none" stroke="#c33" stroke-width="1" marker-end="url(#a)"/>',
  );
}
for (const [i, [name, fill]] of [...colours].entries()) {
  const [left, top] = [LABELS + (i % LEGEND) * ((WIDTH - LABELS) / LEGEND), bottom + 10 + Math.floor(i / LEGEND) * 18];
  out.push(`<rect x="${left}" y="${top}" width="10" height="10" rx="1" fill="${fill}"/>`);
  out.push(`<text x="${left + 15}" y="${top + 9}" fill="#444">${text(name)}</text>`);
}
out.push('</svg>');
process.stdout.write(`${out.join('\n')}\n`);
