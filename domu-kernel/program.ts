// A guest program: one CommonJS text, evaluated with the module 'xenolith' and the kernel's own globals.
import { XenError } from '#pvbus';

export type Main = (api: unknown) => unknown;

/**
 * Runs the text's top level. What it exports as default (or as `main`) is its main function, if there is one.
 * `globals` are names that the text sees instead of Node's.
 */
export function evaluateProgram(
  text: string,
  api: object,
  globals: Readonly<Record<string, unknown>>,
): Main | undefined {
  const names = Object.keys(globals);
  const provide = (name: string): unknown => {
    if (name === 'xenolith') return api;
    throw new XenError(
      'ENOENT',
      `a guest program cannot load '${name}'; it has 'xenolith' and what is bundled with it`,
    );
  };
  const module: { exports: unknown } = { exports: {} };
  const run = new Function('require', 'module', 'exports', ...names, `${text}\n//# sourceURL=program`);
  run(provide, module, module.exports, ...names.map(name => globals[name]));
  const exported = module.exports as { default?: unknown; main?: unknown } | Main | null;
  const main = typeof exported === 'function' ? exported : (exported?.default ?? exported?.main);
  return typeof main === 'function' ? (main as Main) : undefined;
}
