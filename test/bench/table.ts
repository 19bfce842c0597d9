// Tables of figures.

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly yardstick: string;
  /** One value a run; the runs of both were interleaved. */
  readonly bare: readonly number[];
  readonly ours: readonly number[];
  /** Of the two medians, ours over the yardstick's: what is to be kept. */
  readonly goal: { readonly atMost: number } | { readonly atLeast: number };
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
};
const best = (row: Row, values: readonly number[]): number =>
  'atMost' in row.goal ? Math.min(...values) : Math.max(...values);
export const figure = (n: number): string =>
  n >= 1e6
    ? `${(n / 1e6).toFixed(2)}M`
    : n >= 1e4
      ? `${(n / 1e3).toFixed(0)}k`
      : n >= 100
        ? n.toFixed(0)
        : n.toFixed(2);

/** Of a group. */
export function table(rows: readonly Row[]): string {
  const lines = rows.map(row => {
    const ratio = median(row.ours) / median(row.bare);
    const bestRatio = best(row, row.ours) / best(row, row.bare);
    const kept = 'atMost' in row.goal ? ratio <= row.goal.atMost : ratio >= row.goal.atLeast;
    const goal = 'atMost' in row.goal ? `≤ ${row.goal.atMost}×` : `≥ ${row.goal.atLeast}×`;
    return [
      row.name,
      row.yardstick,
      `${figure(median(row.bare))} ${row.unit}`,
      `${figure(median(row.ours))} ${row.unit}`,
      `${ratio.toFixed(2)}×`,
      `${bestRatio.toFixed(2)}×`,
      `${goal} ${kept ? 'yes' : 'NO'}`,
    ];
  });
  const head = ['metric', 'yardstick', 'its median', 'our median', 'ratio', 'ratio of bests', 'goal'];
  return format(head, lines);
}

/** A Markdown table. */
export function format(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map(line => line[i]!.length)));
  const row = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [row(head), row(widths.map(width => '-'.repeat(width))), ...lines.map(row)].join('\n');
}
