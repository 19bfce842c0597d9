// A guest program: one CommonJS text, evaluated with the module 'xenolith' and the kernel's own globals.
// Compiling it runs none of it, so that can be done before the domain runs.
import { XenError } from '#pvbus';

export type Main = (api: unknown) => unknown;
type Body = (...args: unknown[]) => unknown;

/** `names`: of the globals that the text sees instead of Node's. Throws a SyntaxError. */
export function compileProgram<Name extends string>(text: string, names: readonly Name[]): Program<Name> {
  const body = new Function('require', 'module', 'exports', ...names, `${text}\n//# sourceURL=program`) as Body;
  return (api, globals, module = { exports: {} }) =>
    evaluate(
      body,
      api,
      names.map(name => globals[name]),
      module,
    );
}
/**
 * Runs the text's top level. What it exports as default (or as `main`) is its main function, if there is one.
 */
export type Program<Name extends string> = (
  api: object,
  globals: Readonly<Record<Name, unknown>>,
  module?: ProgramModule,
) => Main | undefined;

/** What the program exports, once its top level has said so. */
export interface ProgramModule {
  exports: object;
}

function evaluate(body: Body, api: object, globals: readonly unknown[], module: ProgramModule): Main | undefined {
  const provide = (name: string): unknown => {
    if (name === 'xenolith') return api;
    throw new XenError(
      'ENOENT',
      `a guest program cannot load '${name}'; it has 'xenolith' and what is bundled with it`,
    );
  };
  body(provide, module, module.exports, ...globals);
  const exported = module.exports as { default?: unknown; main?: unknown } | Main | null;
  const main = typeof exported === 'function' ? exported : (exported?.default ?? exported?.main);
  return typeof main === 'function' ? (main as Main) : undefined;
}
