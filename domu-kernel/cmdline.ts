// The command line of start_info: `root=/dev/xvda ip=10.0.0.2::10.0.0.1:255.255.255.0 quiet greeting="hello world"`.

/** Words `key=value`, or `key` alone, which is true. The last of several counts. */
export type Arguments = Readonly<Record<string, string | true>>;

export function parseCmdline(text: string): Arguments {
  const args: Record<string, string | true> = Object.create(null);
  for (const [word] of text.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)) {
    const plain = word.replaceAll('"', '');
    const equals = plain.indexOf('=');
    if (equals < 0) args[plain] = true;
    else if (equals > 0) args[plain.slice(0, equals)] = plain.slice(equals + 1);
  }
  return args;
}

/** As Linux reads a boolean parameter. */
export const isOn = (value: string | true | undefined): boolean =>
  value === true || (value !== undefined && /^(1|y|on|true)/i.test(value));
