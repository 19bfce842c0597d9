#: set and shift
set a b c; echo $# $1; shift; echo $# $1; shift 2; echo $#; set -- -a -b; echo $1; set --; echo $#; set -- a 'b c' ''; echo $# "$2"; shift 0; echo $#; set - x y; echo $#; set +e -- q; echo $1; set -e --; echo $#; set +e; x=1; set | while read l; do case $l in x=*) echo "$l";; esac; done; set -f; case $- in *f*) echo f;; esac; set +f
set -o noglob; echo *; set +o noglob; set -o errexit; set +o errexit; echo on; set -o | head -n 1; set -o nope; echo never
#: shift too far
set -- a; shift 2; echo never
#: set with a wrong option
set -Q; echo never
#: getopts
o() { OPTIND=1; while getopts ab:c opt "$@"; do echo "$opt [$OPTARG] $OPTIND"; done; shift $((OPTIND - 1)); echo "rest $# $*"; }
o; o -a; o -ab val x; o -b val -c; o -bval y; o -ac -b 'q r' -- -a; o x -a; o -a - b; o -ca; o -b; o -x; o -a -b ''; o -abc
#: getopts that says nothing
o() { OPTIND=1; while getopts :ab: opt "$@"; do echo "$opt [$OPTARG] $OPTIND"; done; echo $OPTIND; }
o -x; o -b; o -a -z -b; o -ab; set -- -a -b 1 z; while getopts ab: opt; do echo $opt $OPTARG; done; echo $? $OPTIND $opt; getopts a n -a; echo $? $n; getopts; echo $?
#: local
x=g; y=g; f() { local x y=l; echo "[$x][$y]"; x=f; g; echo $x; }; g() { echo "g sees $x $y"; x=changed; }; f; echo $x $y
f() { local x; unset x; echo "[${x-unset}]"; }; f; echo $x; f() { local a=1 b=2; echo $a$b; local a=3; echo $a; }; f; echo "[$a$b]"; f() { local IFS=:; set -- a:b; echo $1; v=a:b; echo $v; }; f; v=a:b; echo $v; f() { local x="$@"; echo "$x"; }; f a 'b  c'; (local x; echo never); echo $?
f() { echo a b | while read l; do local z=$l; echo $z; done; echo [$z]; }; f; f() { (local x=1; echo $x; g); g; }; g() { echo "g $x"; }; f; f() { echo $(local y=2; echo $y) $y; }; f
f() { local e=1; export e; sh -c 'echo [$e]'; }; f; sh -c 'echo [$e]'; f() { local z=$1; [ $z -gt 0 ] && f $((z-1)); echo $z; }; f 2
#: functions and redirections
f() { echo out; echo err >&2; } 2>&1; f | cat; g() { cat; } < in; echo content > in; g; h() { echo $1; } > "$1out"; set -- p; h x; cat xout pout 2>/dev/null; k() { echo one; } > o1; k > o2; cat o1; cat o2 | wc -c
f() for i in 1 2; do echo $i; done; f; g() if true; then echo if; fi; g; h() case $1 in a) echo A;; esac; h a; k() (x=sub; echo $x); k; echo [$x]; w() while :; do echo w; break; done; w; f
() { echo on the next line; }; f; f ( ) { echo spaced; }; f; n() { return; }; false; n; echo $?; n() { :; }; n; echo $?; n() { return 300; }; n; echo $?
f() { g() { echo inner; }; }; f; g; f() { echo 1; f() { echo 2; }; }; f; f; unset -f f; f 2>/dev/null; echo $?; f() { echo "$#:$*"; }; f a b; echo $#
#: unset, export, readonly
x=1; unset x; echo ${x-gone}; unset none; echo $?; f() { :; }; unset -f f; f 2>/dev/null; echo $?; x=1; unset -v x; echo ${x-gone}; readonly r=1; (unset r; echo never) ; echo $?; (r=2; echo never); echo $?; (readonly r=3; echo never); echo $?; export a=1 b; sh -c 'echo $a [$b]'; b=2; sh -c 'echo $b'; export c; c=3; sh -c 'echo $c'; unset a; sh -c 'echo [$a]'; readonly; export x='a b'; export -p | while read l; do case $l in *x=*) echo "$l";; esac; done; readonly -p; unset a b c; a=1 b=2; unset a b; echo [$a$b]; (export 1x; echo never); echo $?; (unset 1x; echo $?); echo $?
#: a variable that is read-only
readonly r=1; r=2; echo never
#: assignments before commands
x=1; x=2 :; echo $x; x=3 true; echo $x; x=4 eval 'echo $x'; echo $x; x=5 sh -c 'echo $x'; echo $x; f() { echo $x; }; x=6 f; echo $x; x=7 y=8; echo $x$y; x=1 x=2 sh -c 'echo $x'; x=a y=$x sh -c 'echo $y'; x=$(echo sub) y="q q"; echo $x "$y"; x= sh -c 'echo [$x]'; a=b=c; echo $a; IFS=: read p q <<E
1:2
E
echo $p $q; x=1 export z=2; echo $x $z; nope=1 nonsense 2>/dev/null; echo "$? [$nope]"
#: dot
echo 'echo in $1; y=set; return 3; echo never' > lib; . ./lib; echo $? $y; echo 'echo [$#]' > l2; set -- a b; . ./l2; (. ./none; echo never); echo $?; (. none_at_all; echo never); echo $?; mkdir bin; echo 'echo found' > bin/l3; PATH=$PATH:$PWD/bin; . l3; echo 'f() { echo from lib; }' > l4; . ./l4; f; command . ./none; echo $?; : > empty; false; . ./empty; echo $?; echo false > l5; . ./l5; echo $?
#: eval
eval echo a b; eval 'echo "x  y"'; x='echo $y'; y=v; eval $x; eval "$x"; eval; echo $?; false; eval; echo $?; eval 'false'; echo $?; eval 'a=1; b=2'; echo $a$b; v=name; eval "$v=val"; echo $name; eval "echo \$$v"; eval 'for i in 1 2; do
echo $i; done'; f() { eval 'return 4'; }; f; echo $?; for i in 1 2; do eval 'continue'; echo never; done; eval 'if true; then echo yes; fi' | cat; (eval 'if'; echo never); echo $?; (eval 'echo "'; echo never); echo $?
#: command and type
command -v echo cd : [ if for nothing; command -v nothing; echo $?; f() { echo func; }; command -v f; echo() { printf 'shadow\n'; }; command echo real; unset -f echo; command true; echo $?; command false; echo $?; command nonsense 2>/dev/null; echo $?; command; echo $?; command -v ./x; echo $?; type cd : f if | cat; type nothing; echo $?; command -p echo p; command -V cd | cat; command -- echo dd; (command exit 3); echo $?; command eval 'echo ev'; x=1 command :; echo ${x-none}
#: break and continue
for i in 1 2 3; do for j in a b; do [ $j = b ] && continue 2; echo $i$j; [ $i = 2 ] && break 2; done; done; for i in 1; do break 5; done; echo $?; while :; do while :; do break 2; done; echo never; done; echo $?; for i in 1 2; do continue; echo never; done; echo $?; until false; do break; done; for i in 1 2; do if [ $i = 1 ]; then continue; fi; echo $i; done; for i in 1 2 3; do case $i in 2) break;; esac; echo $i; done; for i in a b; do { break; }; done; echo $i; for i in 1 2; do (break; echo sub); echo after; done; for i in 1 2; do echo $i | while read x; do continue; done; done; for x in 1 2; do while true; do continue 2; done; done; echo $x; (for i in 1; do break 0; done; echo never); echo $?; (for i in 1; do break x; done; echo never); echo $?
#: for
for x do echo never; done; set -- a 'b c'; for x do echo "<$x>"; done; for x
do echo "<$x>"; done; for x in; do echo never; done; for x in 1 2 3
do
echo $x
done; for x in a b; do :; done; echo $x; for i in $(echo 1 2) "$@" *nothing; do echo $i; done; for x; do echo "$x"; done; for _a1 in z; do echo $_a1; done; for x in in do done; do echo $x; done; for i in 1 2; do echo $i; done > out; cat out; for i in 1 2; do echo $i; done | wc -l; for x in a b c; do set -- z; done; echo $#; for i in `echo p q`; do echo $i; done; for i in 1; do false; done; echo $?
#: until and while
n=0; until [ $n -ge 3 ]; do n=$((n+1)); done; echo $n; while false; do :; done; echo $?; until true; do :; done; echo $?; n=0; while n=$((n+1)); [ $n -lt 3 ]; do echo $n; done; while [ $n -gt 0 ]; do n=$((n-1)); false; done; echo $?; while read x; do echo $x; done <<E
1
2
E
until n=$((n+1)); echo $n; [ $n = 2 ]; do :; done; while ! [ $n = 0 ]; do n=0; done; echo $n; while { [ $n -lt 2 ]; }; do n=$((n+1)); done; echo $n
#: if
if true; then echo 1; fi; if false; then :; fi; echo $?; if false; then :; elif true; then echo 2; else echo no; fi; if false; then :; elif false; then :; else echo 3; fi; if ! false; then echo 4; fi; if true && false || true; then echo 5; fi; if (exit 3); then :; else echo $?; fi; if { true; }; then echo 6; fi; if true
then
echo 7
fi; if [ 1 = 1 ] ; then if [ 2 = 3 ]; then :; else echo 8; fi; fi; if true; false; then echo no; else echo 9; fi; if x=$(false); then echo no; else echo 10; fi; if echo a | read x; then echo 11; fi; if :; then echo 12; fi > out; cat out
#: true, false, colon
:; echo $?; true a b; echo $?; false a; echo $?; : > made; [ -f made ] && echo made; : $(echo side > effect); cat effect; : a=b; echo [$a]; ! :; echo $?
#: sh and its options
sh -z; echo $?; sh -c; echo $?; sh -c 'echo $1 $0' a b; sh -e -c 'false; echo never'; echo $?; sh +e -c 'false; echo on'; sh -ec 'set +e; false; echo on2'; echo 'echo file $1' > f; sh f a; sh -- f b; sh -x f c 2> e; [ -s e ] && echo said; echo 'echo in $1' | sh -s q; echo 'echo p' | sh; sh -n f; echo $?; sh -o errexit -c 'false; echo never'; echo $?; sh -u f z; printf 'echo a\nexit 4\n' | sh; echo $?; sh -o nope -c :; echo $?
set -a; av=1; sh -c 'echo [$av]'; set +a; bv=2; sh -c 'echo [$bv]'; set -o allexport; cv=3; set +o allexport; sh -c 'echo $cv'
#: exit
(exit); echo $?; (exit 3); echo $?; (exit 256); echo $?; (false; exit); echo $?; sh -c 'exit 7'; echo $?; (exit x; echo never); echo $?; f() { exit 5; }; (f); echo $?; (trap 'echo t' EXIT; exit 2); echo $?; exit 9
#: cd and pwd
mkdir -p a/b; cd a/b; echo ${PWD##*/}; cd ..; echo ${PWD##*/}; cd - > /dev/null; cd ../..; cd none; echo $?; cd /; pwd; cd; echo $?; HOME=/; cd; pwd; cd /dev/..; pwd; cd -- /; pwd; cd ''; echo $?; cd . ; cd /dev; echo $PWD $OLDPWD; cd -P /; pwd -P; pwd -L; cd /; CDPATH=/dev:/none; cd dev; pwd; cd /nope/x 2>/dev/null || echo no
