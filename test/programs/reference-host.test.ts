// The programs that guests run, on Node's own WASI host first: what fails here is the build's fault and no guest's.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildFirst } from '../support/programs/build-first.ts';
import { lua } from '../support/programs/lua.ts';
import { python } from '../support/programs/python.ts';
import { quickjs } from '../support/programs/quickjs.ts';
import { runOnNode } from '../support/programs/run-on-node.ts';
import { sqlite } from '../support/programs/sqlite.ts';
import { orSkip } from '../support/programs/unavailable.ts';

let dir: string;
buildFirst(lua, sqlite, quickjs);
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-wasi-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('Lua throws and catches, switches coroutines, reads and writes files and exits with its code', async context => {
  const script = [
    'local ok, why = pcall(error, "thrown")',
    'local numbers = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)',
    'local f = assert(io.open("/lua.txt", "w")); f:write(why, "\\n"); f:close()',
    'for line in io.lines("/lua.txt") do print(line, numbers(), numbers(), numbers()) end',
    'os.exit(7)',
  ];
  writeFileSync(join(dir, 'script.lua'), script.join('\n'));
  const run = await runOnNode(await orSkip(context, lua), ['/script.lua'], dir);
  expect(run).toEqual({ stdout: 'thrown\t1\t2\t3\n', stderr: '', code: 7 });
});

test('SQLite writes a database that its own integrity check finds sound', async context => {
  const sql = "create table t(a primary key, b); insert into t values (1, 'one'), (2, 'two'); pragma integrity_check;";
  const run = await runOnNode(await orSkip(context, sqlite), ['/t.db', sql, 'select count(*) from t'], dir);
  expect(run).toEqual({ stdout: 'ok\n2\n', stderr: '', code: 0 });
  expect(readFileSync(join(dir, 't.db')).subarray(0, 15).toString()).toBe('SQLite format 3');
});

test('QuickJS reads and writes files, sees the end of its stack, waits for a timer and exits with its code', async context => {
  const script = [
    "const f = std.open('/q.json', 'w'); f.puts(JSON.stringify({ a: [1, /x+/.exec('axx')[0]] })); f.close();",
    "print(std.loadFile('/q.json'));",
    'const deep = () => deep(); try { deep(); } catch (error) { print(error.message); }',
    "os.setTimeout(() => { print('later'); std.exit(3); }, 10);",
  ];
  const run = await runOnNode(
    await orSkip(context, quickjs),
    ['--std', '--stack-size', '32k', '-e', script.join('\n')],
    dir,
  );
  expect(run).toEqual({ stdout: '{"a":[1,"xx"]}\nstack overflow\nlater\n', stderr: '', code: 3 });
});

test('CPython has its library inside, reads and writes files and exits with its code', async () => {
  const script = "import json; json.dump({'a': [1, 2]}, open('/p.json', 'w')); print(json.load(open('/p.json'))['a'])";
  const run = await runOnNode(await python(), ['-c', `${script}; raise SystemExit(5)`], dir);
  expect(run).toEqual({ stdout: '[1, 2]\n', stderr: '', code: 5 });
});
