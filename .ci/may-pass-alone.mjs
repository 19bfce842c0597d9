// A reporter for vitest. What failed, as lines `FILE: TEST: ERROR` in the file that PASS_ALONE names, when it may be put
// down to chance: in at most three files. As Xen's osstest does, .ci/run then tries those files once more and says so at
// its end, for somebody to mend them; `npm test` has no second try.
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';

const MOST = 3;
/** Numbers out of numbers. (A unit test reads real files and waits for real promises.) */
const EXACT = 'test/abi/';

const firstLine = errors => (errors[0]?.message ?? 'no reason given').split('\n', 1)[0];

export default class MayPassAlone {
  onTestRunEnd(modules, unhandledErrors, reason) {
    const failed = modules.filter(module => !module.ok());
    // What nobody caught belongs to the file that was being run.
    const uncaught = unhandledErrors.map(error => ({
      file: error.VITEST_TEST_PATH && relative(process.cwd(), error.VITEST_TEST_PATH),
      error,
    }));
    const files = new Set([...failed.map(module => module.relativeModuleId), ...uncaught.map(({ file }) => file)]);
    if (reason === 'interrupted' || files.size === 0 || files.size > MOST) return;
    if ([...files].some(file => file === undefined || file.startsWith(EXACT))) return;
    const lines = failed.flatMap(module => {
      const tests = [...module.children.allTests('failed')];
      const ofTests = tests.map(test => `${test.fullName}: ${firstLine(test.result().errors)}`);
      const suites = [module, ...module.children.allSuites()];
      const around = suites.flatMap(suite => suite.errors().map(error => `around its tests: ${firstLine([error])}`));
      return [...ofTests, ...around].map(line => `${module.relativeModuleId}: ${line}`);
    });
    lines.push(...uncaught.map(({ file, error }) => `${file}: beside its tests: ${firstLine([error])}`));
    writeFileSync(process.env.PASS_ALONE, lines.map(line => `${line}\n`).join(''));
  }
}
