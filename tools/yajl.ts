// JSON as libyajl's beautifier prints it, which is how libxl prints: four blanks a level, and a blank line
// inside what is empty.

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Ends in a newline, as yajl does. */
export const yajl = (value: Json): string => `${print(value, '')}\n`;

function print(value: Json, indent: string): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const deeper = `${indent}    `;
  const items = Array.isArray(value)
    ? value.map(item => deeper + print(item, deeper))
    : Object.entries(value).map(([key, item]) => `${deeper}${JSON.stringify(key)}: ${print(item, deeper)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${items.join(',\n')}\n${indent}${close}`;
}
