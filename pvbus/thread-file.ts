/** The built file of a worker thread, also when the code that starts it runs from source. */
export function threadFile(name: string, from: string): URL {
  return new URL(from.endsWith('.ts') ? `../dist/${name}.js` : `./${name}.js`, from);
}
