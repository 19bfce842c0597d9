// The command line of start_info: `root=/dev/xvda ip=10.0.0.2::10.0.0.1:255.255.255.0 quiet greeting="hello world"`.

/** Words `key=value`, or `key` alone, which is true. The last of several counts. */
export type Arguments = Readonly<Record<string, string | true>>;

export function parseCmdline(text: string): Arguments {
  const args: Record<string, string | true> = Object.create(null);
  for (const [key, value] of words(text)) args[key] = value;
  return args;
}
/** Of a parameter that may be there several times, all that have a value. */
export const valuesOf = (text: string, key: string): string[] =>
  words(text).flatMap(([name, value]) => (name === key && value !== true ? value : []));

function words(text: string): [key: string, value: string | true][] {
  const all: [string, string | true][] = [];
  for (const [word] of text.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)) {
    const plain = word.replaceAll('"', '');
    const equals = plain.indexOf('=');
    if (equals < 0) all.push([plain, true]);
    else if (equals > 0) all.push([plain.slice(0, equals), plain.slice(equals + 1)]);
  }
  return all;
}

/** As Linux reads a boolean parameter. */
export const isOn = (value: string | true | undefined): boolean =>
  value === true || (value !== undefined && /^(1|y|on|true)/i.test(value));
