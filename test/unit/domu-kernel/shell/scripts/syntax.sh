#: here-documents
x=v; cat <<E
$x ${x} $(echo s) `echo b` $((1+1)) \$x \\ \` "q" 'q' \q a\
b ${x:-"d"} ${none:-'s'} ${none:-"a b"} $
E
cat <<'E'
$x \$x `b` \
E
cat <<\E
$x
E
cat <<"E"
$x
E
cat <<-E
		$x
	  tab then spaces
	E
cat <<-'E'
	$x
	E
cat <<E1; cat <<E2
1
E1
2
E2
cat <<E | cat
piped
E
cat <<E > f
file
E
cat f; cat <<'A B'
two words
A B
cat <<E && echo and
x
E
cat <<E; echo after
E
cat <<E
  E
E 
E
while read l; do echo "<$l>"; done <<E
$x 1
\$x 2
E
f() { cat <<E; }; f; echo $?
in f $x
E
f; cat << E
space
E
echo "$(cat <<E
in quotes "$x"
E
)"; cat <<-E
	a
		b
E
if true; then cat <<E
in if
E
fi; (cat <<E
in sub
E
); cat <<E0 -
digits
E0
cat <<E
"$x" '$x' "$(echo "q")" ${x#v}${x%"v"}end
E
cat <<E
$(cat <<I
inner
I
)
E
#: lines that go on
echo a\
b; echo a \
b; echo "a\
b"; echo 'a\
b'; ec\
ho c; echo $(echo a\
b) `echo a\
b`; if tr\
ue; then echo d; fi; x=1\
2; echo $x; echo a && \
echo b; echo $((1\
+2)); true || \
echo no; for i \
in a; do \
echo $i; done; cat <<E
a\
b
E
echo end \

#: comments
echo a # b
echo a#b '#' "#" \# a\ #c
# whole
 # spaced
echo $# ${#} #c
x=#; echo [$x]; x=a#b; echo $x; echo a;# c
( # c
echo sub # c
) # c
if true # c
then # c
echo t # c
fi # c
case a in # c
a) # c
echo c # c
;; # c
esac # c
for i in 1 # c
do echo $i; done #
f() # c
{ echo f; } # c
f
echo a && # c
echo b | # c
cat
echo '
# not
'; echo `echo x # c
`; echo $(echo y # c )
) #
#!not
#: lists
true && echo 1 || echo 2; false && echo 3 || echo 4; true || echo 5 && echo 6; false || false || echo 7; ! true || echo 8; ! false && echo 9; true; ! echo a | read x; echo $?; echo a; echo b;
echo c
{ echo d; }; { echo e
}; (echo f); ( (echo g) ); { { echo h; } }; { echo i; } && echo j; (false) || echo k; a=1 && echo $a; (echo l; exit 3) || echo $?; { false; true; } && echo m; true &&
echo n ||
echo o; echo p |
cat
#: redirections
echo a > f; echo b >> f; cat f; cat < f > g; cat g; echo c >| f; cat f; > e; cat e; echo d 1> f; cat f; { echo out; echo err >&2; } > o 2> e; cat o e; { echo x; echo y >&2; } > b 2>&1; cat b; echo to 2>&1 >&2 2>/dev/null; (echo s) > f; cat f; > f echo first; cat f; echo a > f b c; cat f; x=f; echo v > $x; cat $x; echo v > "$x"; cat none; echo $?; cat < none; echo $?; echo a > none/x; echo $?; echo a >&9; echo $?; cat <f >g; cat g; if true; then echo i; fi > f; cat f; while read l; do echo "<$l>"; done < f; echo q 2>&1 | cat; nonsense 2> g; echo $?; [ -s g ] && echo said; echo a <f; cat <&0 < f; echo b >&1; echo c 1>&2 2>/dev/null; echo x > f 2> g > h; cat f h; : > 'a b'; ls 'a b'; echo > f; cat f; cat <<E <f
lost
E
echo a>f;cat<f;echo 2>f;cat f;echo 2 >f;cat f;echo a2>f;cat f
#: a redirection that fails and what runs
echo never > none/x; echo $?; { echo never; } > none/x; echo $?; (echo never) > none/x; echo $?; f() { echo never; }; f > none/x; echo $?; true < none && echo never; if true; then echo never; fi > none/x; echo $?; while read x; do :; done < none; echo $?; x=1 > none/x; echo "$? [$x]"; cat < none | cat; echo $?; : < none; echo never
#: what is wrong with the syntax
for s in 'if' 'if true' 'if true; then' 'while' 'for' 'for 1 in a; do :; done' 'case' 'case a' 'case a in' '(' ')' '{' '}' 'echo (' 'a() ' '&&' '|' '; ;' 'echo "' "echo '" 'echo $(' 'echo `' 'echo ${x' 'echo ${' 'echo ${x!y}' 'echo $((1' 'fi' 'done' 'then' 'esac' 'do' ';;' 'echo a && ' 'echo >' 'echo <' 'cat <<' '! ' 'if true; then fi' 'while true; do done' '()' '( )' '{ }' 'for i in a; echo' 'case a in a) ;; b' 'a & & b' '| a' 'for i in 1; do echo; done; done' 'true; }' 'echo ;; ' 'function f { :; }' 'echo a; ; echo b' '{ echo a }' 'if true; then echo; else' 'x() { echo; ' 'echo ${#' 'echo ${x:}' '&' 'a=(1 2)' '> f; )'; do sh -c "$s" < /dev/null > /dev/null 2>&1; echo "$? $s"; done
#: an error late in a script
echo first
echo second; x=1
if then
echo never
#: what comes behind exit
echo a
exit 3
this ( is no " script
#: an alias of quotes
echo "a b"'c d'e\ f$'' 2>/dev/null | wc -l; echo ""''x; echo a"b"c'd'e; printf '%s\n' \a\b; printf '%s\n' "\a\"\$\`\\"; echo '\'; echo "it's" 'say "hi"'; echo a\	b; echo "	"; echo \\; echo "$"; echo $; echo "a$"; echo a$ $a$; echo "$ x" $'a' 2>/dev/null | wc -w; echo \$x "\$x" '$x'; echo "`echo \`echo n\``"; echo {a,b} {} }{ a{b; echo "!" ! a!b; echo a=b =a; echo [ ] [a; echo "*" '*' \*; echo -- -; echo %s %; echo ^ @ + , . / : = ~x
#: reserved words as words
echo if then else fi for do done while until case esac in { } !; if=1; echo $if; for if in a; do echo $if; done; x=if; $x 2>/dev/null; echo $?; 'if' 2>/dev/null; echo $?; \if 2>/dev/null; echo $?; echo a; for in in in; do echo $in; done; case for in for) echo for;; esac; done=1; echo $done; echo done
#: status
true; echo $?; false; echo $?; nonsense 2>/dev/null; echo $?; ./none 2>/dev/null; echo $?; mkdir d; ./d 2>/dev/null; echo $?; x=$(exit 3); echo $?; x=1; echo $?; x=$(false) y=$(true); echo $?; echo $(false); echo $?; false | true; echo $?; true | false; echo $?; (exit 4); echo $?; ! false; echo $?; { false; }; echo $?; f() { false; }; f; echo $?; f() { return 2; }; f; echo $?; $(exit 5); echo $?; $nothing; echo $?; false; $nothing; echo $?; '' 2>/dev/null; echo $?; false; echo "$(echo $?)"; false; x=$?; echo $x; false; (echo $?); if false; then :; fi; echo $?; false || true; echo $?; > f; echo $?; x=$(true) false; echo $?; `false`; echo $?
#: set -x
set -x; x='a b'; echo "$x" c ''; y=1 true; for i in 1; do echo $i; done; f() { :; }; f q; [ a = a ]; : 'it'\''s' > f; set +x; echo done
#: set -n and -v
sh -n -c 'echo never'; echo $?; sh -n -c 'if'; echo $?
#: deep
x=1; while [ ${#x} -lt 5000 ]; do x=$x$x; done; echo ${#x}; y=$(echo $x | wc -c); echo $y; f() { [ $1 -eq 0 ] && echo bottom || f $(($1-1)); }; f 50; ((echo a); (echo b)); (((echo c))); echo $(echo $(echo $(echo $(echo d)))); { { { { echo e; }; }; }; }
#: set -u
set -u; echo ${x-ok} ${x:-ok} ${x+no} $# "$@" $*; (echo ${#x}; echo never); echo $?; (echo ${x#a}; echo never); echo $?; (echo $1; echo never); echo $?; (echo $!; echo bg); (x=; echo [$x]); case $- in *u*) echo u;; esac
#: variables of the shell
echo ${PPID:+set} ${IFS+set} ${OPTIND} ${PATH:+set} ${PWD:+set} ${HOME-none} ${RANDOM-none} ${OLDPWD-none} "$PS4"; IFS=x sh -c 'v=axb; set -- $v; echo $#'; env -i sh -c 'echo ${PATH:+set} $OPTIND'
