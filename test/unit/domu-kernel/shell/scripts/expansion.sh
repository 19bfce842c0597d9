#: the parameters, quoted and not
set -- 'a b' '' c
for i in $@; do echo "<$i>"; done; echo --
for i in $*; do echo "<$i>"; done; echo --
for i in "$@"; do echo "<$i>"; done; echo --
for i in "$*"; do echo "<$i>"; done; echo --
for i in x"$@"y; do echo "<$i>"; done; echo --
for i in "x $@ y"; do echo "<$i>"; done; echo --
for i in "$@$@"; do echo "<$i>"; done; echo --
for i in "${@}" "${*}"; do echo "<$i>"; done; echo --
for i in ""$@; do echo "<$i>"; done
#: the parameters with an IFS of its own
set -- 'a b' c:d e
IFS=:; echo "$*"; for i in $*; do echo "<$i>"; done; for i in $@; do echo "<$i>"; done
IFS=; echo "$*"; for i in $*; do echo "<$i>"; done; for i in $@; do echo "<$i>"; done
IFS='-+'; echo "$*" "${*}"; x="$*"; echo "$x"; x=$*; echo "$x"; x=$@; echo "$x"; x="$@"; echo "$x"
unset IFS; echo "$*"; x=$*; echo "$x"
#: no parameters
set --
for i in "$@"; do echo never; done
for i in "$*"; do echo "<$i>"; done
for i in x"$@"; do echo "<$i>"; done
for i in "$@"x; do echo "<$i>"; done
for i in $@ $*; do echo never; done
for i in "$@" "$@"; do echo never; done
for i in "$@""$@"; do echo "both<$i>"; done
for i in ""; do echo "<$i>"; done
for i in "${@:-none}"; do echo "<$i>"; done
for i in "${*:-none at all}"; do echo "<$i>"; done
echo "${#}" "$#"
#: empty parameters
set -- '' ''
for i in $@; do echo "u<$i>"; done
for i in "$@"; do echo "q<$i>"; done
for i in $*; do echo "s<$i>"; done
for i in "$*"; do echo "qs<$i>"; done
for i in $@x; do echo "x<$i>"; done
set -- ''; for i in "$@"; do echo "one<$i>"; done; for i in $@; do echo "u<$i>"; done
#: parameters with operators
set -- 'a b' c
for i in "${@:-x}"; do echo "<$i>"; done
for i in "${@+y z}"; do echo "<$i>"; done
for i in ${@+"$@"}; do echo "<$i>"; done
for i in ${1+"$@"}; do echo "<$i>"; done
for i in "${1+"$@"}"; do echo "<$i>"; done
for i in ${x-"$@"}; do echo "<$i>"; done
for i in "${x-$@}"; do echo "<$i>"; done
for i in ${x-$@}; do echo "<$i>"; done
for i in ${x-p$@q}; do echo "<$i>"; done
set --; for i in ${1+"$@"}; do echo "never<$i>"; done
#: the word of an operator
unset x; e=
echo "${x:-a  b}" ${x:-a  b} "${x:-'q'}" ${x:-'q  q'} "${x:-"dq  dq"}" ${x:-"dq  dq"}
echo ${x:-$((1+2))} ${x:-$(echo sub  st)} "${x:-$(echo sub  st)}" ${x:-`echo bq`}
echo ${x:-${e:-${x-deep}}} "${x:-"${e:-"${x-"deep  er"}"}"}"
echo "${x:-a\}b}" ${x:-a\}b} ${x:-'}'} "${x:-\"}" "${x:-\$y}" "${x:-\q}" ${x:-\q}
echo ${x:-a b "c d" 'e f' g}; for i in ${x:-a b "c d" 'e f' g}; do echo "<$i>"; done
for i in "${x:-a b "c d" g}"; do echo "<$i>"; done
for i in p${x:- a b }q; do echo "<$i>"; done
for i in p${x:-" a b "}q; do echo "<$i>"; done
echo ${x:+never}${e:+never}${e+empty}${x+never}
echo "${x-}" ${x-} ${x:-}end
v=val; echo ${v:-no}${v-no}${v:+yes}${v+yes} "${v:+"a  b"}" "${v:+a'b'}"
#: assignment by an operator
unset a b c
echo ${a=one two}; echo "$a"; echo ${b:="q  q"}; echo "$b"; : ${c:=$(echo sub)}; echo $c
e=; echo ${e=no}; echo "[$e]"; echo ${e:=yes}; echo $e
for i in ${n:=x y}; do echo "<$i>"; done; echo "$n"
(: ${1=x}; echo never); echo $?
(set -- p; : ${1=x}; echo $1)
readonly r; (: ${r=x}; echo never) ; echo $?
#: what is missing and asked for
(echo ${x?}; echo never); echo $?
(echo ${x?a message}; echo never); echo $?
(e=; echo ${e?} ${e:?}; echo never); echo $?
(v=1; echo ${v?} ${v:?} ${v:?word}); echo $?
sh -c 'echo ${nope:?gone}; echo never'; echo $?
sh -c ': ${1?no argument}; echo never' name; echo $?
#: lengths
v=hello; echo ${#v} ${#} ${#nope} "${#v}"; set -- aa bbb; echo ${#1} ${#2} ${#3} ${#@} ${#*}
e=; echo ${#e}; v='a b'; echo ${#v}; false; echo ${#?}; echo ${##} ; set 1 2 3 4 5 6 7 8 9 0 11; echo ${#11} ${##}
#: beginnings and ends
f=/usr/local/lib/x.tar.gz
echo ${f#/} ${f##/} ${f#*/} ${f##*/} ${f%/*} ${f%%/*}end ${f%.gz} ${f%.*} ${f%%.*}
echo ${f#?} ${f##?} ${f%?} "${f%%[.]*}" "${f##*[!a-z.]}" ${f#nothing} ${f%nothing}
p='*/'; echo ${f#$p} ${f#"$p"} ${f##$p} "${f##$p}" "${f##"$p"}"
v='a*b*c'; echo "${v%\**}" "${v%'*'*}" "${v%%"*"*}" "${v#*\*}" "${v##*'*'}"
v=aaa; echo ${v#a} ${v##a} ${v##*a}end ${v%a} ${v%%a*}end ${v%%*}end ${v#*}end ${v##*}end
v='a}b'; echo ${v#a\}} "${v#a\}}" ${v%'}b'}
v='x y  z'; echo "${v#x }" "${v%  z}" ${v##* } "${v% *}"
v='\a\b'; printf '%s\n' "${v#\\}" "${v%\\*}" ${v#'\a'}
e=; echo "[${e#x}]" "[${none%y}]" "[${e##*}]"
set -- one.c two.c; echo ${1%.c} "${2%.c}"; 
v=abc; echo ${v#${v%?}} ${v%${v#?}} ${v#"${v%c}"}
#: nested quotes
x='a b'; y=
echo "$(echo "$(echo "$x  z")")" "`echo "$x"`" "`echo \"q  q\"`" "`echo '\$x'`" `echo '$x'` `echo \\\$x`
printf '%s\n' "a'b'c" 'a"b"c' "a\"b" 'a\b' "a\b" "a\\b" "a\$x" a\'b "`printf '%s' a\\\\b`"
echo "${x:+"inner "quotes" here"}" "${y:-"x"y"z"}"
echo $(echo 'a)b') $(echo "a)b") "$(echo ")")" $(case a in a) echo in case;; esac) $(case a in (a) echo in case;; esac)
echo "$(echo \\ \" \$x)" $(echo \\ \" \$x)
echo "$(cat <<E
$x "$x" '$x'
E
)"
#: fields
x='  a   b  '; for i in $x; do echo "<$i>"; done; for i in p$x'q'; do echo "<$i>"; done; for i in "$x"; do echo "<$i>"; done
IFS=:; x=:a::b:; for i in $x; do echo "<$i>"; done; for i in p${x}q; do echo "<$i>"; done
IFS=' :'; x=' a : b :: c : '; for i in $x; do echo "<$i>"; done; echo --; for i in p${x}q; do echo "<$i>"; done
IFS=x; v=axbxxc; for i in $v axb "axb"; do echo "<$i>"; done; for i in $(echo 1x2 3); do echo "<$i>"; done; for i in $((1)) ; do echo $i; done
IFS=1; echo $((212)) "$((212))"; IFS=' 	
'; v='a
b	c'; echo $v; set -- $v; echo $#; IFS=; v='a b'; set -- $v; echo $#; unset IFS; set -- $v; echo $#
IFS='\'; v='a\b'; set -- $v; echo $# $1 $2
IFS=' '; v='a b '; for i in $v$v; do echo "<$i>"; done; for i in $v"$v"$v; do echo "<$i>"; done
unset IFS; e=; for i in $e$e $e'' ''$e "$e"x; do echo "<$i>"; done
IFS=,; v=,; for i in $v; do echo "<$i>"; done; v=,,; for i in $v; do echo "<$i>"; done; v=a,; for i in $v$v; do echo "<$i>"; done; for i in $v"";do echo "<$i>"; done
#: fields of several expansions
p() { for i; do printf '<%s>' "$i"; done; echo; }
IFS=' :'; v='a: ' w=':b'; p $v$w; v='a:' w=' b'; p $v$w; v='a:' w=' :b'; p $v$w; v=' ' w=':b'; p $v$w; v='a' w=' :b'; p $v$w; p $v"$w"$w; v=' ::b'; p $(printf '%s' "$v")$v
set -- a :b; p $@; p $*; set -- a: :b; p $@; set -- 'a ' :b; p $@; set -- a ' :b'; p $@; set -- ax :,b,:; p $@a"$*"; IFS=:; set -- ' , a: ' :; p a$*
#: no fields where there are none
x='a b  *'; y=$x; echo "$y"; case $x in 'a b  *') echo same;; esac; z=$x$x; echo "$z"; cat <<E
$x
E
export w=$x 2>/dev/null; echo "$w"; v="$x"$x; echo "$v"
echo out > "a b"; f='a b'; cat < $f; echo more >> $f; cat "$f"
#: tilde
HOME=/home/x
echo ~ ~/ ~/a ~a/b "~" '~' \~ a~ x=~ ~"" "~"/a ~'/a' /~ ~:~
x=~; echo $x; x=~/a; echo $x; x=a:~/b:~; echo $x; x="~"; echo $x; x='~/a'; echo $x; x=a~; echo $x; x=\~; echo $x
y='~'; echo $y; echo ${none:-~} ${none:-~/z} "${none:-~}"; case /home/x in ~) echo matched;; esac; case ~/q in /home/x/q) echo matched;; esac
for i in ~ ~/b; do echo $i; done; export z=~/q; echo $z; readonly q=~; echo $q; PATH=$PATH:~/bin; echo "${PATH##*:}"
HOME='/a b'; for i in ~ ~/c; do echo "<$i>"; done; HOME='/*'; echo ~; unset HOME; echo ~ ~/a; HOME=; echo ~/a
cat <<E
~ ~/a
E
HOME=/; echo ~ ~/a; x=~/b; echo $x
HOME=/h; a=/h/1; echo ${a#~} ${a#~/} "${a#~/}"; f() { local l=~/l; echo $l; }; f; echo a=~ --a=~/b
#: globs
mkdir -p a/b c .h; : > a/1.txt; : > a/b/2.txt; : > c/3.txt; : > x; : > .y; : > 'q r'; : > '[z]'; : > 'st*r'
echo *; echo */; echo */*; echo */*/; echo */*/*; echo ./*; echo a/*.txt; echo ?; echo [xc]; echo [!xc]; echo no*such; echo \*; echo '*'; echo "*"
echo "a"/*; echo a"/"*.txt; v='*'; echo $v; echo "$v"; v='a/*'; echo $v; v='\*'; echo $v; echo st\*r; echo st*; echo '[z]' [[]z]; echo "["z]; echo [a-c]; echo a//*.txt; echo a/./*.txt; echo a/../x*
for f in *; do echo "<$f>"; done; set -- *.none; echo $1; set -f; echo *; set +f; x=*; echo "$x"; echo $x; echo .[!.]*; echo .h*; echo [.]*
cd a; echo ../*; echo *; cd ..; echo /dev/nul[l]; echo */1*; echo q*; rm -r a; echo a*
