import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Shell } from '../../../../domu-kernel/shell/shell.ts';
import fc from '../../../support/properties.ts';
import { UserlandRig } from '../../../support/userland-rig.ts';

let rig: UserlandRig;
beforeEach(() => {
  rig = new UserlandRig();
});
const out = (script: string): string => rig.sh(script).out;

describe('a script', () => {
  it('says words, variables, arithmetic and the output of commands', () => {
    expect(out(`A='x  y'; echo $A "$A" '$A' \${B:-none} $((2 * (3 + 4) - 1)) $(echo in $(echo in))`)).toBe(
      'x y x  y $A none 13 in in\n',
    );
    expect(
      out('echo $0 $# "$@"; set -- a "b c"; echo $# $1 $2; shift; echo $1; for x in "$@"; do echo [$x]; done'),
    ).toBe('sh 0\n2 a b c\nb c\n[b c]\n');
  });

  it('ends with the status of its last command, or of exit', () => {
    expect(rig.sh('false').status).toBe(1);
    expect(rig.sh('false; true').status).toBe(0);
    expect(rig.sh('exit 300').status).toBe(44);
    expect(rig.sh('nonsense').status).toBe(127);
    expect(out('nonsense')).toBe('nonsense: not found\n');
    expect(rig.sh('! true').status).toBe(1);
    expect(rig.sh('true | false').status).toBe(1);
    expect(rig.sh('false | true').status).toBe(0);
    expect(rig.sh('if').status).toBe(2);
  });

  it('runs what the operators say', () => {
    expect(out('true && echo a || echo b; false && echo c || echo d; ! false && echo e')).toBe('a\nd\ne\n');
    expect(out('false; echo $?; (exit 3); echo $?; sh -c "exit 4"; echo $?')).toBe('1\n3\n4\n');
  });

  it('has conditions and loops', () => {
    expect(
      out(
        'i=0; while [ $i -lt 5 ]; do i=$((i + 1)); if [ $i = 2 ]; then continue; elif [ $i = 4 ]; then break; fi; echo $i; done',
      ),
    ).toBe('1\n3\n');
    expect(out('for a in 1 2; do for b in x y; do [ $a$b = 1y ] && continue 2; echo $a$b; done; done')).toBe(
      '1x\n2x\n2y\n',
    );
    expect(out('until [ -f /t ]; do touch /t; echo made; done')).toBe('made\n');
  });

  it('has pipelines of builtins, utilities and compound commands', () => {
    expect(out('echo a b c | cat | wc -w; for i in 1 2 3; do echo $i; done | while read x; do echo got $x; done')).toBe(
      '3\ngot 1\ngot 2\ngot 3\n',
    );
    expect(out('yes | head -n 3')).toBe('y\ny\ny\n');
    expect(rig.userland.processes.list()).toEqual([]);
  });

  it('says what memory and volumes there is, in KiB, MiB or as people do', () => {
    const numbers = (text: string): number[] => text.match(/ \d+(?=\s)/g)!.map(Number);
    const [total, used, free] = numbers(out('free'));
    expect(used! + free!).toBe(total);
    expect(numbers(out('free -m'))[0]).toBe(Math.round(total! / 1024));
    expect(out('df')).toMatch(/^file system \(KiB\) +total +used +free {2}on\n\S+ +\d+ +\d+ +\d+ {2}\/\n/);
    expect(out('df -h')).toMatch(
      /^file system +total +used +free {2}on\n\S+ +[\d.]+[KMG] +[\d.]+[KMG] +[\d.]+[KMG] {2}\/\n/,
    );
    expect(rig.sh('df -x').status).toBe(1);
  });

  it('takes the output of a command for what it is, in however many parts it comes', () => {
    const before = process.memoryUsage().arrayBuffers;
    expect(
      out('x=$(i=0; while [ $i -lt 1000 ]; do echo $i; i=$((i + 1)); done); echo "$x" | wc -c; echo $x | wc -w'),
    ).toBe('3890\n1000\n');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 << 20);
  });
  it('forgets the first of many jobs that nobody waits for, and keeps the last', () => {
    expect(
      out(`(exit 3) & first=$!; i=0; while [ $i -lt 300 ]; do (exit 4) & i=$((i + 1)); done; last=$!
        sleep 0; true & true & wait $last; echo $?; wait $first; echo $?`),
    ).toBe('4\n127\n');
  });
  it('goes on as before when commands were too deep in one another', () => {
    const { out } = rig.sh(`f() { if [ $1 -gt 0 ]; then f $(($1 - 1)); else echo in; fi; }
      i=0; while [ $i -lt 60 ]; do command eval 'f 1000'; i=$((i + 1)); done 2> /dev/null; f 90`);
    expect(out).toBe('in\n');
  });

  it('changes nothing of itself in subshells, pipelines and the background', () => {
    expect(
      out('A=1; cd /; (A=2; mkdir -p /d; cd /d; echo $A $PWD); echo $A $PWD; A=3 | cat; echo $A; A=4 & wait; echo $A'),
    ).toBe('2 /d\n1 /\n1\n1\n');
    expect(out('{ B=2; }; echo $B')).toBe('2\n');
  });

  it('redirects, appends, and copies descriptors in their order', () => {
    expect(
      out('echo one > /f; echo two >> /f; cat < /f; cat /none 2> /e; cat /e; cat /none > /both 2>&1; cat /both'),
    ).toBe('one\ntwo\ncat: /none: no such file or directory\ncat: /none: no such file or directory\n');
    expect(out('{ echo a; echo b; } > /g; wc -l < /g; while read l; do echo "<$l>"; done < /g')).toBe('2\n<a>\n<b>\n');
    expect(rig.sh('echo x > /none/y').status).toBe(2);
    expect(out('echo to nothing > /dev/null; > /empty; test -s /empty || echo empty')).toBe('empty\n');
  });

  it('hands on what is exported, and what stands before a command', () => {
    expect(out('A=1; B=2; export B; C=3 sh -c "echo [\\$A] [\\$B] [\\$C]"; echo [$C]')).toBe('[] [2] [3]\n[]\n');
    expect(out('env X=1 sh -c "echo \\$X"')).toBe('1\n');
  });

  it('matches names, sorted, hidden ones only when asked, and leaves what matches nothing', () => {
    rig.sh('mkdir -p /w/sub; cd /w; touch b.txt a.txt .hidden c.log sub/d.txt "x y.txt"');
    expect(
      out('cd /w; echo *.txt; echo */*.txt; echo .h*; echo [!a]*.log; echo no*; echo "*.txt" \\*; echo /w/?.txt'),
    ).toBe('a.txt b.txt x y.txt\nsub/d.txt\n.hidden\nc.log\nno*\n*.txt *\n/w/a.txt /w/b.txt\n');
    expect(out('cd /w; for f in *.txt; do echo "[$f]"; done')).toBe('[a.txt]\n[b.txt]\n[x y.txt]\n');
  });

  it('runs scripts by their first line, and by name', () => {
    rig.write('/bin-less', 'echo no');
    rig.sh('mkdir /bin');
    rig.write('/bin/hello', '#!/bin/sh\necho hello $1 of $#\nexit 5\n');
    expect(rig.sh('hello a b; echo $?')).toEqual({ out: 'hello a of 2\n5\n', status: 0 });
    expect(rig.sh('/bin-less').status).toBe(126);
    expect(rig.sh('/bin').status).toBe(126);
    expect(out('. /bin-less; sh /bin-less')).toBe('no\nno\n');
  });

  it("ends a loop without an end in nobody's way", () => {
    const ended = rig.sh(
      'while true; do :; done & while [ -z "$X" ]; do X=1; done; sleep 1; kill $!; wait $!; echo $?',
    );
    expect(ended.out).toBe('143\n');
  });

  it('bounds how deep functions call one another, and expansions what they make', () => {
    expect(rig.sh('f() { f; }; f; echo never')).toEqual({
      out: 'sh: more than 200 commands in one another\n',
      status: 2,
    });
    expect(out('f() { if [ $1 -gt 0 ]; then f $(($1 - 1)); else echo deep; fi; }; f 60')).toBe('deep\n');
  });

  it('copies, moves and removes files', () => {
    expect(out('mkdir -p /a/b; echo 1 > /a/f; echo 2 > /a/b/g; cp -r /a /c; mv /c/f /c/h; ls /c; cat /c/b/g')).toBe(
      'b\nh\n2\n',
    );
    expect(out('rm -r /a; ls /a')).toMatch(/^ls: \/a: no such file/);
    expect(out('ln -s h /c/s; cat /c/s; ls -l /c/s; cp /c/h /c/b; ls /c/b')).toMatch(/^1\nl .* \/c\/s -> h\ng\nh\n$/);
    expect(out('rmdir /c/b; rm /c/b; rm -f /c/none; rm /c/b/*; rmdir /c/b; ls -a /c')).toMatch(
      /^rmdir: .*\nrm: .*\n\.\n\.\.\nh\ns\n$/,
    );
    expect(out('ln /c/h /c/i; ls -l /c/i; touch /c/t; ls -1 /c')).toMatch(/^- {3}2 .* \/c\/i\nh\ni\ns\nt\n$/);
    expect(rig.sh('cp /c/h /c/h').out).toContain('the same file');
    expect(rig.sh('cp -r /c /c/d').out).toContain('into itself');
  });

  it('moves nothing to another file system that it could not copy there', () => {
    const moved = rig.sh(
      'mkdir -p /a/m; echo 1 > /a/f; mount -t tmpfs none /a/m; mv /a /a/m/x; echo $?; ls /a; cat /a/f',
    );
    expect(moved.out).toMatch(/^mv: .*into itself\nmv: .*not all of it could be moved\n1\nf\nm\n1\n$/);
    expect(out('mkdir /b; mv /a/f /b; mv /b /a/m; ls /a /a/m/b; cat /a/m/b/f')).toBe('/a:\nm\n\n/a/m/b:\nf\n1\n');
  });

  it('waits for all it has in the background, and reaps it', () => {
    expect(out('sleep 3 & sleep 1 & sleep 2 & wait; echo done; ps')).toMatch(/^done\n +PID .*\n.* sh\n.* ps\n$/);
    expect(rig.sh('sh -c "exit 9" & wait $!').status).toBe(9);
  });

  it('bounds what its processes may have, and hands that on', () => {
    expect(out('ulimit -v 640; ulimit -v; sh -c "ulimit -v; ulimit -v 1280"')).toBe(
      '640\n640\nulimit: more than this shell may have itself\n',
    );
  });

  it('keeps the exit status of who was killed', () => {
    expect(rig.sh('sleep 100 & kill -9 $!; wait $!').status).toBe(137);
    expect(rig.sh('sh -c "kill -TERM \\$\\$"').status).toBe(143);
  });

  it('hears of a pipe that nobody reads where it has a trap for that', () => {
    expect(out("{ trap 'echo heard >&2' PIPE; sleep 1; echo a; echo $? >&2; } | true")).toBe(
      'echo: nobody reads it any more\nheard\n1\n',
    );
    expect(out('{ sleep 1; echo a; echo never >&2; } | true')).toBe('');
  });

  it.each([
    'sleep 100 > /f &',
    'V=1 sleep 100 2> /f &',
    '{ true; sleep 100; } &',
    '(true; sleep 100) &',
    "sh -c 'sleep 100' &",
    "sh -c 'exec sleep 100' &",
    'f() { :; }; true | sleep 100 > /f &',
  ])('leaves nothing of %s when what $! names is killed', job => {
    expect(out(`${job} sleep 1; kill $!; wait $!; echo $?; ps`)).toMatch(/^143\n +PID .*\n.* sh\n.* ps\n$/);
  });

  it('sends signals to jobs and groups', () => {
    expect(out('sleep 100 | sleep 200 & kill %1; wait; ps')).toMatch(/^ +PID .*\n.* sh\n.* ps\n$/);
    expect(out("trap 'echo got' TERM; kill -TERM 0; echo on; kill -l 15; kill -TERM -99; echo $?")).toMatch(
      /^got\non\nTERM\nkill: -99: no such process\n1\n$/,
    );
    expect(out('sleep 1 & sleep 2 & jobs; wait %2; jobs -l %1; wait; jobs')).toMatch(
      /^\[1\] - Running {20}sleep 1\n\[2\] \+ Running {20}sleep 2\n\[1\] \+ \d+ Done {5,}sleep 1\n$/,
    );
  });

  it('reads no more than it keeps of what a command says', () => {
    expect(rig.sh('x=$(cat /dev/zero); echo never')).toEqual({ out: 'sh: $(): more than 16777216 bytes\n', status: 2 });
    rig.run();
    expect(rig.userland.processes.list()).toEqual([]);
  });

  it('ends whatever the script, with nothing left', () => {
    const pieces = [
      'echo a',
      '| cat',
      '&& true',
      '|| false',
      '; ',
      '(',
      ')',
      '&',
      '\n',
      '$(echo b)',
      '"$@"',
      '> /f',
      '< /f',
      '2>&1',
      'if true; then',
      'fi',
      'for i in 1 2; do',
      'done',
      'wait',
      'x=1',
      '$x',
      '*',
      'sleep 1',
      'cd /',
      '[ 1 -lt 2 ]',
      '$((1/0))',
      'exit 3',
      'break',
      '{',
      '; }',
      '! ',
      'kill $$',
      'kill %1',
      'fg',
      'bg',
      'jobs',
      'read a',
      'env',
      'shift',
      'set -- q',
      'ulimit -v 64',
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 14 }), parts => {
        const fresh = new UserlandRig();
        // Nobody types: who reads is at the end at once.
        fresh.sh(
          `{ ${''}\n:; } < /dev/null; sh -c '${parts.join(' ').replaceAll("'", '')}' < /dev/null > /dev/null 2>&1`,
        );
        fresh.run();
        expect(fresh.userland.processes.list().map(({ argv }) => argv)).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a shell that reads its commands from stdin', () => {
  const fed = (script: string, args = ''): string => {
    rig.write('/in', script);
    return out(`sh ${args} < /in; echo $?`) + out(`cat /in | sh ${args} > /out; echo $?; cat /out`).replace(/^0\n/, '');
  };
  /** From a file and from a pipe. */
  const both = (text: string): string => `${text}0\n${text}`;

  it('leaves to them what is behind their line', () => {
    expect(fed('read x\nhello\necho "[$x]"\ncat\nthe\nrest\n')).toBe(both('[hello]\nthe\nrest\n'));
    expect(fed('head -n 1\n')).toBe(both(''));
    expect(fed('sh\necho inner\nexit\necho outer\n')).toBe(both('inner\nouter\n'));
  });
  it('reads a command to its end, however many lines it has', () => {
    const script = 'f() {\n  echo $1\n}\nif true\nthen\n f yes\nfi\ncat <<E\n$0 $1\nE\necho a \\\nb # no \\\n';
    expect(fed(`${script}echo 'two\nlines' | cat`, '-s one')).toBe(both('yes\nsh one\na b\ntwo\nlines\n'));
    expect(out('sh < /dev/null; echo $?; printf "echo a\\nif true\\n" | sh 2> /err; echo $?')).toBe('0\na\n2\n');
    expect(out('printf "echo a\\nexit 4\\necho b\\n" | sh; echo $?')).toBe('a\n4\n');
  });
  it('knows each end of a here-document, and looks at its lines once or twice', () => {
    expect(fed(`cat <<-A; cat <<'\tB'; cat <<''\n\ta\n\tA\nB\n\tB\n\tc\n\n`)).toBe(both('a\nB\n\tc\n'));
    const lines = 1000;
    rig.write('/in', `wc -l <<E\n${'x\n'.repeat(lines)}E\n`);
    const search = vi.spyOn(String.prototype, 'indexOf');
    try {
      expect(out('sh < /in')).toBe(`${lines}\n`);
      expect(search.mock.calls.filter(([what]) => what === '\n').length).toBeLessThan(10 * lines);
    } finally {
      search.mockRestore();
    }
  });
  it('goes on with another file when stdin is that', () => {
    rig.write('/more', 'echo more\n');
    expect(fed('echo first; exec < /more\necho never\n')).toBe(both('first\nmore\n'));
  });
});

describe('a shell with a user', () => {
  it('prompts, runs lines, and goes on with what is not whole', () => {
    rig.interactive();
    expect(rig.screen).toBe('rig:/# ');
    expect(rig.type('echo hi\r')).toBe('echo hi\nhi\nrig:/# ');
    expect(rig.type('if true\r')).toBe('if true\n> ');
    expect(rig.type('then echo yes; fi\r')).toBe('then echo yes; fi\nyes\nrig:/# ');
    expect(rig.type('cd /tmp\r')).toContain('/tmp: no such file or directory\nrig:/# ');
    expect(rig.type(')\r')).toBe(")\nsh: syntax error near ')'\nrig:/# ");
  });

  it('ends at ^D, and by exit', () => {
    const first = rig.interactive();
    rig.type('\x04');
    expect(first.status?.code).toBe(0);
    const second = rig.interactive();
    rig.type('exit 3\r');
    expect(second.status?.code).toBe(3);
  });

  it('says once that jobs are stopped before it ends, by exit or ^D', () => {
    const first = rig.interactive();
    rig.type('cat\r');
    rig.type('\x1a');
    expect(rig.type('exit\r')).toBe('exit\nYou have stopped jobs.\nrig:/# ');
    rig.type('true\r');
    rig.type('true\r');
    expect(rig.type('\x04')).toBe('You have stopped jobs.\nrig:/# ');
    rig.type('true\r');
    expect(rig.type('exit 3\r')).toBe('exit 3\nYou have stopped jobs.\nrig:/# ');
    expect(first.status).toBe(undefined);
    rig.type('exit 3\r');
    expect(first.status?.code).toBe(3);
    const second = rig.interactive();
    rig.type('cat\r');
    rig.type('\x1a');
    rig.type('\x04');
    rig.type('\x04');
    expect(second.status?.code).toBe(148);
  });

  it('reads on behind a backslash', () => {
    rig.interactive();
    expect(rig.type('echo a \\\r')).toBe('echo a \\\n> ');
    expect(rig.type('b\\\\\r')).toBe('b\\\\\na b\\\nrig:/# ');
  });

  it('ends at ^C what runs, and not itself', () => {
    rig.interactive();
    rig.type('sleep 1000\r');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    expect(rig.type('echo $?\r')).toContain('130\n');
    rig.type('sleep 1000 | cat | cat\r');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    expect(rig.type('half a li\x03')).toBe('half a li^C\nrig:/# ');
    expect(rig.type('echo ok\r')).toBe('echo ok\nok\nrig:/# ');
    expect(rig.userland.processes.list().length).toBe(1);
  });

  it('leaves a loop at ^C, of processes or of builtins', () => {
    rig.interactive();
    rig.type('while true; do sleep 1; done\r');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    let turns = 0;
    const { userland } = rig;
    rig.type('x\r');
    // The loop never waits: keys come in between its turns.
    const typed = (keys: string): void => userland.terminal.input(new TextEncoder().encode(keys));
    typed('while true; do :; done\r');
    while (turns++ < 50) userland.step();
    typed('\x03');
    rig.run({ timed: false });
    expect(rig.screen.endsWith('^C\nrig:/# ')).toBe(true);
    expect(rig.type('for i in 1 2 3; do sleep 5; echo $i; done\r')).not.toContain('1\n');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
  });

  it('hears ^C also where what had the terminal has just ended', () => {
    rig.interactive();
    const { userland } = rig;
    const typed = (keys: string): void => userland.terminal.input(new TextEncoder().encode(keys));
    // Between any two steps, whatever of the loop is under way.
    for (let steps = 1; steps < 60; steps++) {
      typed('while true; do sh -c :; sleep 0; done\r');
      for (let n = 0; n < steps; n++) userland.step();
      typed('\x03');
      rig.run({ timed: false });
      expect(rig.screen.endsWith('^C\nrig:/# ')).toBe(true);
      expect(userland.processes.list().length).toBe(1);
    }
  });

  it('stops a job at ^Z, and has it go on in the background and in the foreground', () => {
    rig.interactive();
    rig.type('sleep 10 | cat\r');
    expect(rig.type('\x1a')).toBe('^Z\n[1] + Stopped                    sleep 10 | cat\nrig:/# ');
    rig.ns += 100e9;
    expect(rig.type('jobs\r')).toContain('[1] + Stopped                    sleep 10 | cat\n');
    expect(rig.type('bg\r')).toContain('[1] sleep 10 | cat &\n');
    expect(rig.type('\r')).toContain('[1] + Done                       sleep 10 | cat\nrig:/# ');
    rig.type('sleep 10\r');
    rig.type('\x1a');
    expect(rig.type('fg\r')).toBe('fg\nsleep 10\n');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    expect(rig.userland.processes.list().length).toBe(1);
  });

  it('runs jobs in the background, says when they are done, and stops one that reads the terminal', () => {
    rig.interactive();
    expect(rig.type('sleep 5 &\r')).toMatch(/\n\[1\] \d+\nrig:\/# $/);
    expect(rig.type('echo at once\r')).toContain('\nat once\n');
    expect(rig.type('cat &\r')).toMatch(/\[2\] \d+/);
    expect(rig.type('\r')).toContain('[2] + Stopped                    cat\n');
    rig.type('fg %2\r');
    expect(rig.type('typed\r')).toBe('typed\ntyped\n');
    expect(rig.type('\x04')).toBe('rig:/# ');
    rig.type('', { timed: true });
    expect(rig.type('\r')).toContain('[1] + Done                       sleep 5\n');
  });

  it('that a script has started ends at ^C what runs, and not the script', () => {
    const { terminal } = rig.userland;
    const rc = rig.userland.spawn({
      argv: ['sh'],
      stdio: [terminal, terminal, terminal],
      routine: process => new Shell(rig.userland, process).script('echo rc; sh; echo back; read x; echo "[$x]"'),
    });
    terminal.foreground = rc.pgid;
    rig.run({ timed: false });
    expect(rig.screen).toBe('rc\nrig:/# ');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    rig.type('sleep 1000\r');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    expect(rc.status).toBeUndefined();
    expect(rig.type('exit\r')).toBe('exit\nback\n');
    expect(rig.type('typed\r')).toBe('typed\n[typed]\n');
    expect(rc.status?.code).toBe(0);
    // Nobody but the script has the terminal again: the keys concern it.
    expect([terminal.foreground, terminal.leader]).toEqual([rc.pgid, 0]);
  });

  it('starts another, which has the terminal until it ends', () => {
    const outer = rig.interactive();
    rig.type('sh\r');
    expect(rig.type('echo $$ $PPID\r')).toMatch(new RegExp(`\n\\d+ ${outer.pid}\n`));
    rig.type('sleep 1000\r');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    rig.type('exit\r');
    expect(rig.type('sleep 1000\r')).toBe('sleep 1000\n');
    expect(rig.type('\x03')).toBe('^C\nrig:/# ');
    expect(rig.type('echo $?\r')).toContain('130\n');
    expect(rig.userland.processes.list()).toEqual([outer]);
  });

  it('in the background waits for the terminal', () => {
    rig.interactive();
    rig.type('sh &\r');
    expect(rig.type('echo mine\r')).toContain('[1] + Stopped                    sh\n');
    expect(rig.type('fg\r')).toBe('fg\nsh\nrig:/# ');
    rig.type('exit 4\r');
    expect(rig.type('echo $?\r')).toContain('4\n');
  });

  it('has its marks on the jobs that were stopped or started last', () => {
    rig.interactive();
    rig.type('sleep 1000 &\r');
    rig.type('sleep 2000\r');
    rig.type('\x1a');
    rig.type('sleep 3000 &\r');
    const line = (id: number, mark: string, state: string): string =>
      `[${id}] ${mark} ${state.padEnd(27)}sleep ${id}000\n`;
    expect(rig.type('jobs\r')).toContain(line(1, ' ', 'Running') + line(2, '+', 'Stopped') + line(3, '-', 'Running'));
    rig.type('kill %-; wait %3\r');
    expect(rig.type('bg %sl\r')).toContain('no such job: %sl\n');
    expect(rig.type('bg %?2000\r')).toContain('[2] sleep 2000 &\n');
    expect(rig.type('kill %1 %2\r') + rig.type('\r')).toContain('Terminated');
    expect(rig.userland.processes.list().length).toBe(1);
  });

  it('leaves nothing stopped behind that nobody could have go on', () => {
    const outer = rig.interactive();
    rig.type('sh\r');
    rig.type('sleep 1000 | cat\r');
    rig.type('\x1a');
    rig.type('exit\r');
    rig.type('exit\r');
    expect(rig.userland.processes.list()).toEqual([outer]);
  });

  it('waits for a console that is slow, and for nobody else', () => {
    rig.interactive();
    rig.waiting = 1 << 20;
    const { screen } = rig;
    rig.type('yes | head -n 1000 | wc -l\r');
    expect(rig.screen.slice(screen.length)).toBe('yes | head -n 1000 | wc -l\n');
    rig.waiting = 0;
    rig.run({ timed: false });
    expect(rig.screen.endsWith('\n1000\nrig:/# ')).toBe(true);
  });
});
