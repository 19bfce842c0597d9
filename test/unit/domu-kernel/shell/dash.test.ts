// Scripts that dash, Debian's sh, and the guest's shell run to the same output and the same status.
import { describe, expect, it } from 'vitest';
import { byDash, byUs, whyNoDash } from '../../../support/beside-dash.ts';
import fc from '../../../support/properties.ts';

const SCRIPTS: Readonly<Record<string, string>> = {
  'functions: arguments, status, recursion, their own variables': `
f() { echo "f $# $1 $2"; return 3; }
f a 'b c'; echo $?
g () (
  x=inner; echo $x
)
x=outer; g; echo $x
h() { local x=1 y; y=2; x=$x$y; echo $x; }
y=old; h; echo $x $y
fact() { if [ $1 -le 1 ]; then echo 1; else echo $(($1 * $(fact $(($1 - 1))))); fi; }
fact 6
loop() { [ $1 -gt 0 ] || return 0; echo $1; loop $(($1 - 1)); }
loop 20
set -- p q; f; echo $1 $#
k() { shift; echo "$@"; }; k 1 2 3; echo "$@"
echo() { command echo "[$*]"; }; echo a b; unset -f echo; echo c
r() { for i in 1 2 3; do [ $i = 2 ] && return; done; }; r; echo $? $i
out() { echo to file; } > file; out; cat file
f() { false; }; f || echo failed; f && echo never; ! f; echo $?
V=1 f; echo [$V]; s() { echo $V; }; V=2 s; echo [$V]
`,
  case: `
t() { case $1 in a|b) echo ab;; [0-9]*) echo digit;; 'x*') echo literal;; x*) echo x;; "") echo empty;; *) echo other; esac; }
for w in a b 7 77x 'x*' xyz '' 'q r' '*'; do t "$w"; done
case $(echo a b) in "a b") echo yes;; esac
case z in (y) echo y;; (z) echo z; false;; esac; echo $?
case z in y) ;; esac; echo $?
v='*'; case abc in "$v") echo quoted;; $v) echo pattern;; esac
case a.b in *.c) echo c;; *.*) case x in x) echo nested;; esac;; esac
case x in
  # a comment
  x)

    echo lines
    ;;
esac
case a/b in a*b) echo slash; esac
case .x in *x) echo dot; esac
case ']' in []]) echo bracket;; esac; case b in [!a]) echo not a; esac; case '\\' in '\\') echo backslash; esac
`,
  'here-documents': `
x=value
cat <<E
plain $x \${x}y $(echo sub) \`echo back\` $((1 + 2))
  "quotes" 'stay' \\$x \\\\ \\q a\\
b
E
cat <<'E'
$x \\$x $(echo no)
E
cat <<-E
	tabs go
		all of them
	E
cat <<A; cat <<B
first
A
second
B
while read line; do echo "<$line>"; done <<E
one
  two  words
E
f() { cat <<E
in f $1
E
}
f arg
cat <<E | wc -l
a
b
E
echo $(cat <<E
inside
E
)
if true; then cat <<E; fi
in if
E
cat <<""
to the empty line

cat <<E > out; cat out
into a file
E
cat <<E
never ended`,
  'while read': `
printf 'a b c\\nd  e\\n\\n f\\n' > in
while read x y; do echo "[$x][$y]"; done < in
while IFS= read -r line; do echo "[$line]"; done < in
printf 'a:b::c:\\nx\\n' | while IFS=: read p q r; do echo "$p|$q|$r"; done
printf 'x\\\\y z\\\\\\nw\\n' | { read a; echo "$a"; }
printf 'x\\\\y z\\\\\\nw\\n' | { read -r a; echo "$a"; }
n=0; while read l; do n=$((n + 1)); [ $n = 2 ] && break; done < in; echo $n
cat in | { read first; read second; echo $second $first; }
printf 'no newline' | { read a b; echo $? $a $b; }
read x < /dev/null; echo $? "[$x]"
IFS=,; for w in $(echo a,b,,c); do echo "<$w>"; done; v='1,2 3,'; set -- $v; echo $#; echo $v
unset IFS; set -- $v; echo $#
`,
  'parameter expansions': `
unset u; e=; v=value
echo "\${u-d}" "\${u:-d}" "\${e-d}" "\${e:-d}" "\${v:-d}" "\${u-}" "\${u:-a b}" 
echo \${u+s} \${e+s} \${e:+s} \${v:+s t}
echo \${u=set} $u \${e:=full} $e
echo \${#v} \${#u} \${#}
f=/usr/lib/x.tar.gz
echo \${f##*/} \${f#*/} \${f%.*} \${f%%.*} \${f%nothing} \${f#"/usr"} \${f%'*'}
p='*.gz'; echo \${f%$p} \${f%"$p"}
echo "\${v#v}" \${v%"\${v#??}"}
set -- a 'b c' d; echo "\${@}" "$*" \${*} "\${1}" \${10-none}
set -- 1 2 3 4 5 6 7 8 9 ten; echo \${10} $10
IFS=-; echo "$*"; unset IFS
echo "\${u:+"q r"}" "x\${v:+y}z"
for w in \${none-a 'b c' d}; do echo "<$w>"; done
(echo \${none?gone}; echo not here); echo $?
a=; echo "[\${a:-}]" [\${a}] "$a" \${a:-"x  y"} | cat
echo \`echo back \\\`echo nested\\\`\` "\`echo "q"\`"
`,
  arithmetic: `
x=5; echo $((x + 1)) $(($x * 2)) $((x > 3 && x < 10)) $((x == 5 ? 7 : 9)) $((!x)) $((~x)) $((-x))
echo $((010)) $((0x1f)) $((1 << 4)) $((255 >> 2)) $((6 & 3)) $((6 | 3)) $((6 ^ 3)) $((7 % 3)) $((-7 / 2)) $((-7 % 3))
echo $((x += 3)) $x $((x -= 1)) $((x *= 2)) $((x /= 3)) $((x %= 3)) $((x <<= 2)) $((x |= 1)) $x
echo $((1 || 0)) $((0 || 0)) $((2 && 0)) $((y = 4, y)) 2> /dev/null || echo no comma
echo $((9223372036854775807 + 1)) $(((1 + 2) * 3)) $((1 ? 2 ? 3 : 4 : 5))
z=0; echo $((0 && (z = 1))) $z $((1 || (z = 2))) $z; unset q; echo $((q)) $((q + 1))
i=0; while [ $i -lt 3 ]; do i=$((i + 1)); done; echo $i
`,
  'set -e': `
set -e
false || echo tested
if false; then :; fi
! true
while false; do :; done
f() { false; echo in f; }
if f; then echo f was tested; fi
f || echo never
{ false; echo group; } && echo group too
x=$(false) || echo substitution
echo a | false | cat
(set +e; false; echo still)
set +e; false; set -e
( false; echo not here ) || echo but tested
case $- in *e*) echo has e;; esac
(exit 4)
echo never`,
  'set -e in a function': 'set -e\nf() { echo f; false; echo never; }\ng() { f; echo never; }\ng; echo never',
  'set -e and a pipeline': 'set -e\ntrue | false\necho never',
  'set -e and an assignment': 'set -e\nx=$(exit 7)\necho never',
  'set -e and a list':
    'set -e\ntrue && false\necho here\nfalse && true\necho here too\ntrue && true && false\necho end\n{ true && false; }\necho unreached?',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'set -u': 'set -u\necho ${x-unset} "$@" $#\ny=1; echo $y\necho before; echo $x; echo never',
  'set -u in a subshell': 'set -u\n(echo $none; echo never) ; echo $?\nset +u; echo [$none]',
  'set and its options': `
set -f; echo *; set +f
set -- -x y; echo $1; set a b; echo $# $2; set --; echo $#
set -eu; case $- in *u*) echo has u;; esac; set +eu; false; echo $none on
`,
  'set -x': 'set -x\nx=1\necho a $x "b c"\nset +x\necho quiet',
  traps: `
trap 'echo bye $?' EXIT
(trap 'echo inner' EXIT; echo sub)
(echo no trap here)
f() { trap 'echo replaced $?' 0; }
f
trap 'echo term' TERM; kill -TERM $$; echo after
trap '' INT; kill -INT $$; echo ignored
trap - INT
exit 5`,
  'a trap at the end of set -e': "trap 'echo bye $?; exit 9' EXIT\nset -e\nfalse\necho never",
  'a trap that is taken back': "trap 'echo bye' EXIT; trap - EXIT; echo end",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'a trap after an error': "trap 'echo bye $?' EXIT\necho ${x?}\necho never",
  'read-only variables': 'readonly r=1; echo $r; (r=2; echo never); echo $?; export e=1; echo $e',
  'a shell of its own': `
printf 'echo $0 $1\\nfalse\\necho end\\n' > s
sh s a; echo $?; sh -e s b; echo $?; sh -c 'echo $0 $1; exit 3' name arg; echo $?; sh -euc 'echo $none; echo never'; echo $?
`,
  'loops and what leaves them': `
for i in 1 2 3; do for j in a b; do [ $j = b ] && continue 2; [ $i = 3 ] && break 2; echo $i$j; done; done
break; continue; echo outside
f() { break; echo in f; }; for i in 1 2; do f; echo $i; done
while :; do break; done; echo $?
until [ "$n" = xxx ]; do n=x$n; done; echo $n
while true; do if true; then break; fi; done; for i in; do echo never; done; echo $?
`,
  printf: `
printf '%s-%5s|%-5s|%05d|%x|%o|%c|%%|%b\\n' a b c 42 255 8 hello 'x\\ty'
printf '%d %d\\n' 1 2 3; printf 'a\\tb\\101\\n'; printf '%s\\n' one 'two three'; printf plain; printf '\\n%.2s|%+d|% d|%#x\\n' abcd 5 5 255
printf '%s' ; printf '%d\\n' ; printf '%*d\\n' 5 42; printf '%d\\n' 0x10 010 "'A"
`,
  'command and type': `
command echo hi; command -v echo; command -v nothing_like_it; echo $?
f() { :; }; command -v f; eval 'x=1; echo $x'; . /dev/null; echo $?
`,
  'what is in subshells stays there': `
x=1; f() { echo f; }; (x=2; f() { echo g; }; f; cd /); f; echo $x; { x=3; }; echo $x; x=4 | :; echo $x
(exit 3) ; echo $?; (set -e; false; echo no); echo $?; echo $(x=9; echo $x) $x
`,
  'words and quotes': `
set -- "a b" 'c'; for i; do echo "$i"; done; for i in "$@"; do echo "<$i>"; done; for i in "x$@y"; do echo "<$i>"; done
e=; for i in $e "$e" a$e b"$e"; do echo "<$i>"; done; set --; for i in "$@" a"$@"; do echo "<$i>"; done
x=' a  b '; echo $x "$x" [$x]; y=a:b; IFS=:; echo $y; set -- $y; echo $#; unset IFS
echo 'it'"'"'s' "a\\"b" a\\ b \\# # comment
echo a\\
b; : \${v:=d e}; echo $v; mkdir q; echo q/* "q/*" *; cd q; echo *; cd ..
`,
};

describe.skipIf(whyNoDash !== undefined)(`the shell beside dash${whyNoDash ? ` (${whyNoDash})` : ''}`, () => {
  it.each(Object.entries(SCRIPTS))('%s', (_name, script) => {
    expect(byUs(script)).toEqual(byDash(script));
  });

  it('lists and conditions of any kind, with and without -e, say the same', () => {
    const leaf = fc.constantFrom(
      'true',
      'false',
      'echo a',
      '(exit 3)',
      'x=$(false)',
      'return 4',
      'f',
      'break',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
      ': ${u-}',
      'exit 5',
    );
    const { script } = fc.letrec<{ script: string; command: string }>(tie => ({
      command: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        leaf,
        tie('script').map(body => `{ ${body}; }`),
        tie('script').map(body => `( ${body} )`),
        fc.tuple(tie('script'), tie('script')).map(([a, b]) => `if ${a}; then ${b}; else echo no; fi`),
        tie('script').map(body => `for i in 1 2; do echo $i; ${body}; done`),
        tie('script').map(body => `case $? in 0) ${body};; *) echo c$?; ${body};; esac`),
        fc.tuple(tie('command'), tie('command')).map(([a, b]) => `${a} | ${b}`),
      ),
      script: fc
        .array(fc.tuple(fc.constantFrom('; ', ' && ', ' || ', '; ! '), tie('command')), { minLength: 1, maxLength: 4 })
        .map(parts => parts.map(([operator, command], i) => (i === 0 ? command : operator + command)).join('')),
    }));
    const whole = fc
      .tuple(fc.constantFrom('', 'set -e\n', 'set -u\n'), fc.boolean(), script, script)
      .map(([set, trap, inF, main]) => {
        const traps = trap ? "trap 'echo t$?' EXIT\n" : '';
        return `${set}${traps}f() { echo f; ${inF.replaceAll(/\bf\b(?!or|i)/g, 'true')}; }\n${main}\necho $?\n`;
      });
    fc.assert(
      fc.property(whole, text => {
        expect(byUs(text)).toEqual(byDash(text));
      }),
      { numRuns: 25 },
    );
  });
});
