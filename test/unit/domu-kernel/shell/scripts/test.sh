#: numbers that are none
[ "" -gt 5 ]; echo $?; [ a -eq 1 ]; echo $?; [ 1 -eq a ]; echo $?; [ 1x -eq 1 ]; echo $?; [ ' 1 ' -eq 1 ]; echo $?; [ 1.5 -lt 2 ]; echo $?; [ +1 -eq 1 ]; echo $?; [ -1 -lt 0 ]; echo $?; [ 010 -eq 10 ]; echo $?; [ 0x10 -eq 16 ]; echo $?; [ 99999999999 -gt 1 ]; echo $?; [ 9223372036854775807 -gt 9223372036854775806 ]; echo $?; [ 99999999999999999999 -gt 1 ]; echo $?
if [ "$nope" -gt 5 ]; then echo never; else echo else; fi; [ "" -eq 0 ] || echo or; while [ x -lt 1 ]; do echo never; done; echo $?
#: one argument and none
[ ]; echo $?; [ '' ]; echo $?; [ a ]; echo $?; [ -f ]; echo $?; [ -n ]; echo $?; [ -z ]; echo $?; [ ! ]; echo $?; [ -a ]; echo $?; [ '(' ]; echo $?; test; echo $?; test ''; echo $?; test x; echo $?; [ = ]; echo $?; [ -- ]; echo $?
#: two arguments
[ -n a ]; echo $?; [ -n '' ]; echo $?; [ -z a ]; echo $?; [ -z '' ]; echo $?; [ ! a ]; echo $?; [ ! '' ]; echo $?; [ -q a ]; echo $?; [ a b ]; echo $?; [ -o e ]; echo $?; [ ! -f ]; echo $?; [ -t a ]; echo $?; [ -t 0 ]; echo $?; [ -t 99 ]; echo $?; [ -n -a ]; echo $?; [ -n = ]; echo $?
#: three arguments
[ a = a ]; echo $?; [ a = b ]; echo $?; [ a != b ]; echo $?; [ a \< b ]; echo $?; [ b \> a ]; echo $?; [ b \< a ]; echo $?; [ a -a b ]; echo $?; [ a -a '' ]; echo $?; [ '' -o b ]; echo $?; [ '' -o '' ]; echo $?; [ ! -n a ]; echo $?; [ ! -z a ]; echo $?; [ '(' a ')' ]; echo $?; [ '(' '' ')' ]; echo $?; [ -f = -f ]; echo $?; [ ! = ! ]; echo $?; [ '(' = '(' ]; echo $?; [ '(' = ')' ]; echo $?; [ a b c ]; echo $?; [ -n = -n ]; echo $?; [ -z = '' ]; echo $?; [ '' = '' ]; echo $?; [ a == a ]; echo $?; [ ! ! a ]; echo $?; [ -a = -a ]; echo $?
#: four arguments and more
[ ! a = a ]; echo $?; [ ! a = b ]; echo $?; [ ! '(' a ')' ]; echo $?; [ '(' ! a ')' ]; echo $?; [ a = a -a b = b ]; echo $?; [ a = a -a b = c ]; echo $?; [ a = b -o b = b ]; echo $?; [ a = a -o b = b -a c = d ]; echo $?; [ '(' a = a -o b = b ')' -a c = d ]; echo $?; [ ! a = b -a c = c ]; echo $?; [ '(' a = b -o c = c ')' ]; echo $?; [ -n a -a -n b ]; echo $?; [ -n a -a ! -z b ]; echo $?; [ 1 -lt 2 -a 2 -lt 3 ]; echo $?; [ a b c d ]; echo $?; [ a = a b ]; echo $?; [ '(' a = a ]; echo $?; [ a = a ')' ]; echo $?; [ -z '' -o -z x ]; echo $?; [ a -a b -a c -o '' ]; echo $?
#: files
: > e; echo x > f; mkdir d; ln -s f l; ln -s none dead; ln -s d ld
for o in e f d s r w L h c b p S u g k; do for n in e f d l dead ld none ''; do [ -$o "$n" ]; printf '%s' $?; done; echo " -$o"; done
[ -x d ]; echo $?; [ -x none ]; echo $?; [ -e f/x ]; echo $?; [ -d d/ ]; echo $?; [ -f f/ ]; echo $?; [ -d ld/. ]; echo $?; [ -c /dev/null ]; echo $?; [ -r /dev/null -a -w /dev/null ]; echo $?
#: files beside one another
: > a; : > b; ln a c; ln -s a s
[ a -ef a ]; echo $?; [ a -ef c ]; echo $?; [ a -ef s ]; echo $?; [ a -ef b ]; echo $?; [ a -ef none ]; echo $?; [ none -ef none ]; echo $?; [ a -nt none ]; echo $?; [ none -nt a ]; echo $?; [ none -ot a ]; echo $?; [ a -ot none ]; echo $?; [ a -nt a ]; echo $?; [ a -ot a ]; echo $?
sleep 0.05; : > n; [ n -nt a ]; echo $?; [ a -ot n ]; echo $?; [ a -nt n ]; echo $?; [ n -ot a ]; echo $?
#: the bracket
[ a = a; echo $?; [ a = a ] ]; echo $?; [; echo $?; [ ']'; echo $?; [ ']' ]; echo $?; test a = a ]; echo $?; test ]; echo $?; [ "a b" = "a b" ] && echo same; x=']'; [ a $x; echo $?
#: under set -e
set -e; [ x -eq 1 ] || echo goes on; if [ "" -gt 1 ]; then :; fi; echo here; [ x -eq 1 ]; echo never
#: what is not there
[ -n "$u" ] || echo none; [ $u ] || echo none; [ -n $u ] && echo quirk; [ $u = a ] 2>/dev/null || echo $?; [ x$u = x ] && echo x
