#: several names
printf 'a b c d\n' | { read x y; echo "[$x][$y]"; }; printf 'a\n' | { read x y z; echo "[$x][$y][$z]"; }; printf '  a   b  \n' | { read x; echo "[$x]"; }; printf '  a   b  c  \n' | { read x y; echo "[$x][$y]"; }; printf '\n' | { read x; echo "$? [$x]"; }; printf 'a\tb c\n' | { read x y; echo "[$x][$y]"; }
#: the end
printf 'last' | { read x; echo "$? [$x]"; }; printf '' | { x=old; read x; echo "$? [$x]"; }; printf 'a\nb' | { while read l; do echo "<$l>"; done; echo "[$l]"; }; printf 'a\nb' | { while read l || [ -n "$l" ]; do echo "<$l>"; done; }; printf 'a b' | { read x y z; echo "$? [$x][$y][$z]"; }
#: backslashes
printf 'a\\b c\\\\d e\\ f\n' | { read x y z; echo "[$x][$y][$z]"; }; printf 'a\\b c\\\\d e\\ f\n' | { read -r x y z; printf '[%s][%s][%s]\n' "$x" "$y" "$z"; }; printf 'one\\\ntwo\nthree\n' | { read x; echo "[$x]"; read y; echo "[$y]"; }; printf 'one\\\ntwo\n' | { read -r x; printf '[%s]\n' "$x"; }; printf 'end\\' | { read x; echo "$? [$x]"; }
#: with an IFS
printf 'a:b:c\n' | { IFS=: read x y; echo "[$x][$y]"; }; printf 'a:b:c:\n' | { IFS=: read x y z; echo "[$x][$y][$z]"; }; printf 'a::c\n' | { IFS=: read x y z; echo "[$x][$y][$z]"; }; printf ' a : b \n' | { IFS=: read x y; echo "[$x][$y]"; }; printf ' a : b \n' | { IFS=' :' read x y; echo "[$x][$y]"; }; printf '  a b  \n' | { IFS= read x; echo "[$x]"; }; printf 'a:b::\n' | { IFS=: read x y; echo "[$x][$y]"; }; printf ':a\n' | { IFS=: read x y; echo "[$x][$y]"; }; printf 'a:\n' | { IFS=: read x; echo "[$x]"; }; printf 'a:b:\n' | { IFS=: read x y; echo "[$x][$y]"; }; printf 'a\\:b:c\n' | { IFS=: read x y; echo "[$x][$y]"; }; printf 'a, b , c\n' | { IFS=', ' read x y z; echo "[$x][$y][$z]"; }; printf 'a,,b\n' | { IFS=', ' read x y z; echo "[$x][$y][$z]"; }
#: names that are wrong
echo a | { read 1x; echo $?; }; echo a | { read; echo $?; }; (readonly r=1; echo a | { read r; echo never; }; echo $?); echo a | { read -x y; echo $?; }
#: from files
printf '1 one\n2 two\n3 three\n' > f; while read n w; do echo "$w=$n"; done < f; while read l; do read m; echo "$l+$m"; done < f; exec_in() { read a; read b; echo "$b,$a"; }; exec_in < f; { read a; cat; } < f; n=0; while read _; do n=$((n+1)); done < f; echo $n; cat f | while read n w; do [ $n = 2 ] && break; echo $w; done; read x < f; echo "$x"; (read x; echo $x; read x; echo $x) < f; for i in 1 2; do read x; echo $i $x; done < f
#: a prompt
echo in | { read -p 'say: ' x; echo "[$x]"; }; echo 'a b' | { read -r -p '> ' x y; echo "$y$x"; }
