// A node as JSON. The keys are documented in docs/xl-store.md.

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** `value` where it is UTF-8, else `base64`. */
export function jsonValue(bytes: Uint8Array): { readonly value: string } | { readonly base64: string } {
  try {
    return { value: utf8.decode(bytes) };
  } catch {
    return { base64: Buffer.from(bytes).toString('base64') };
  }
}

/** One array, an entry a line. */
export function jsonDocument(entries: readonly object[]): string {
  const lines = entries.map(entry => JSON.stringify(entry));
  return lines.length === 0 ? '[]\n' : `[\n${lines.join(',\n')}\n]\n`;
}
