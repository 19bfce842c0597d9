#: classes of characters
t() { for c in a Z 5 ' ' _ - . '	'; do case $c in $1) printf '(%s)' "$c";; esac; done; echo " $1"; }
t '[[:alpha:]]'; t '[[:digit:]]'; t '[[:alnum:]]'; t '[[:upper:]]'; t '[[:lower:]]'; t '[[:space:]]'; t '[[:blank:]]'; t '[[:punct:]]'; t '[[:print:]]'; t '[[:graph:]]'; t '[[:cntrl:]]'; t '[[:xdigit:]]'
t '[![:alpha:]]'; t '[[:alpha:][:digit:]]'; t '[[:digit:]_-]'; t '[a[:digit:]Z]'; t '[[:none:]]'; t '[:alpha:]'; t '[[:alpha:]-z]'; t '[]-]'; t '[-a]'; t '[a-]'; t '[!-]'; t '[!]a]'
#: brackets
m() { case $1 in $2) printf '%s ' "$1" "$2" yes;; *) printf '%s ' "$1" "$2" no;; esac; echo; }
m ] '[]]'; m a '[]a]'; m ] '[!]a]'; m b '[!]a]'; m '[' '[[]'; m a '[a'; m '[a' '[a'; m '[' '['; m 'a]' 'a]'; m - '[a-]'; m b '[a-c]'; m d '[a-c]'; m B '[a-c]'; m '!' '[!]'; m '[!]' '[!]'; m '!' '[a!]'; m '^' '[^a]'; m b '[^a]'; m '\' '[\\]'; m a '[\a]'; m - '[a\-c]'; m b '[a\-c]'; m ] '[\]]'; m ']' '[a\]]'; m c '[c-a]'; m b '[c-a]'; m 5 '[0-46-9]'; m 7 '[0-46-9]'; m '[]' '[]'; m x '[]'; m 'x]' '[x]]'; m '' '[a]'; m '' '*'; m '' '?'; m a/b 'a?b'; m a/b 'a[/]b'; m .a '*a'; m .a '?a'; m .a '[.]a'
#: quoted characters in patterns
m() { case $1 in $2) printf '%s yes\n' "$1";; *) printf '%s no\n' "$1";; esac; }
m '*' '\*'; m a '\*'; m '\' '\\'; m '\' '\'; m '?' '\?'; m '[a]' '\[a]'; m a '\a'; m '\a' '\\a'; m 'a\' 'a\'
case '*' in '*') echo 1;; esac; case a in '*') echo never;; *) echo 2;; esac; case 'a*' in a'*') echo 3;; esac; case ab in a"*") echo never;; a*) echo 4;; esac
case - in [a'-'c]) echo 5;; esac; case b in [a'-'c]) echo never;; *) echo 6;; esac; case ']' in [a']'b]) echo 7;; *) echo no;; esac; case '!' in ['!'a]) echo 8;; esac; case b in ['!'a]) echo never;; *) echo 9;; esac
v='[a-c]'; case b in $v) echo 10;; esac; case b in "$v") echo never;; *) echo 11;; esac; case '[a-c]' in "$v") echo 12;; esac; v='\*'; case '*' in $v) echo 13;; esac; case '\*' in "$v") echo 14;; esac
case "a b" in a\ b) echo 15;; esac; case 'a"b' in a\"b) echo 16;; esac; case 'a$b' in a\$b) echo 17;; esac; case '' in '') echo 18;; esac; case '' in "") echo 19;; esac; case ab in a''b) echo 20;; esac
#: stars
m() { case $1 in $2) printf '%s ' "$1" "$2" yes;; *) printf '%s ' "$1" "$2" no;; esac; echo; }
m abc 'a*'; m abc '*c'; m abc '*b*'; m abc 'a*c'; m abc 'a**c'; m abc '*?'; m a '*?'; m '' '*?'; m abcabc '*abc'; m ababab 'a*b*b'; m aaa 'a*a*a*a'; m aaaa 'a*a*a*a'; m xay '*[a-c]*'; m 'a
b' 'a*b'; m 'a
b' 'a?b'; m éa '*a'; m é 'é'; m 日本 '日*'
#: ends with classes
v=abc123; echo ${v%%[[:digit:]]*} ${v##*[[:alpha:]]} ${v%[[:digit:]]} ${v#[[:alpha:]]} ${v%%[!a-z]*} "${v##[[:alpha:]]*[[:alpha:]]}"
v='  lead'; echo "${v#"${v%%[![:space:]]*}"}"; v='trail  '; echo "[${v%"${v##*[![:space:]]}"}]"
v='a[b]c'; echo "${v%[*}" "${v%\[*}" "${v#*]}" "${v%'['*}" "${v#*[]]}"
#: classes in globs
: > a1; : > b2; : > c; : > 'd]'; : > e-f; : > .hid; : > 'g\h'; : > 'i[j'
echo *[[:digit:]]; echo [[:alpha:]]; echo *[!0-9]; echo *]; echo *[]]; echo ?[-]?; echo [[:punct:]]*; echo g\\h; echo 'g\'*; echo g[\\]h; echo i[[]j; echo [a-b]*; echo [!a-b]*; echo *\\*; echo i\[*
#: case and its forms
case a in a) echo a;; esac; case a in (a) echo p;; esac; case a in b|a) echo or;; esac; case a in (b | a ) echo or2;; esac
case a in b) ;; esac; echo $?; false; case a in b) ;; esac; echo $?; false; case a in a) ;; esac; echo $?; case a in a) false;; esac; echo $?
case a in
a)
echo newline
;;
b) echo never ;;
esac
case $(echo x) in x) echo sub; esac
case a in a) echo last
esac
case a in esac; echo empty $?
case in in in) echo in;; esac; case esac in (esac) echo esac;; esac; case if in if) echo if;; esac; case "a b" in a*b) echo ab;; esac; case a in [b-z]) ;; ?) echo q;; esac
x=b; case b in a|$x|c) echo var;; esac; case b in $(echo b)) echo subst;; esac; case 3 in $((1+2))) echo arith;; esac; case a.c in *.[ch]) echo src;; esac
case a in a) case b in b) echo nested;; esac;; esac; case x in *) for i in 1 2; do case $i in 1) continue;; esac; echo $i; done;; esac
f() { case $1 in -h|--help) return 3;; -*) echo opt;; *) return 4;; esac; }; f -h; echo $?; f -x; f y; echo $?
case a in a) echo one > out;; esac; cat out; case a in a) echo redirected;; esac > out2; cat out2
