#: operators
echo $((1+2)) $((5-7)) $((3*4)) $((7/2)) $((-7/2)) $((7%3)) $((-7%3)) $((1<<10)) $((1024>>3)) $((-8>>1)) $((6&3)) $((6|3)) $((6^3)) $((~5)) $((!0)) $((!7)) $((!!7)) $((-5)) $((+5)) $((- -5)) $((1<2)) $((2<=2)) $((3>4)) $((4>=4)) $((1==1)) $((1!=1)) $((1&&0)) $((1||0)) $((0||0)) $((1?2:3)) $((0?2:3))
#: precedence
echo $((2+3*4)) $(((2+3)*4)) $((10-4-3)) $((100/10/5)) $((2*3%4)) $((1+2<<3)) $((1<<2+3)) $((1|2&3)) $((1^3&2)) $((5&3==3)) $((1<2==1)) $((1||0&&0)) $((0&&0||1)) $((!1+1)) $((~0*2)) $((-2*-3)) $((1?2:0?3:4)) $((0?1:0?2:3)) $((1?0?5:6:7)) $((3>2>1)) $((1+(2*(3+(4))))) $((- - 3)) $((-  3)) $((1 - -1))
#: assignment
echo $((x=5)) $x $((x+=3)) $((x-=1)) $((x*=2)) $((x/=3)) $((x%=3)) $((x<<=4)) $((x>>=2)) $((x|=1)) $((x&=3)) $((x^=7)) $x
echo $((a=b=3)) $a $b $((c=(d=2)+1)) $c $d $((1?(e=1):(g=2))) $e "[$g]" $((y = x + 1)) $y; : $((z=9)); echo $z $((z=z+1)) $((0&&(z=1))) $z $((1||(z=2))) $z
#: numbers of other bases
echo $((010)) $((0x1F)) $((0Xff)) $((0)) $((00)) $((07)) $((0x0)) $((0777)) $((-010)) $((0x7fffffffffffffff)) $((9223372036854775807)) $((-9223372036854775807 - 1)) $((9223372036854775807+1))
x=010; echo $((x)) $(($x)); x=0x10; echo $((x)); x=-5; echo $((x)) $((-x)) $((1-x)); x=' 7 '; echo $((x)); x=+3; echo $((x))
#: variables
x=3; y=x; echo $((x)) $(($x)) $((x+x)) $((x*$x)) $((unset_one)) $((unset_one+1)) "$((x))" a$((x))b "a $((x + 1)) b"; e=; echo $((e)) $((e+1)); set -- 4 5; echo $(($1+$2)) $(($#)) $(($1$2)) $(( $# * 2 ))
echo $(( x
+ 1 )) $(( $(echo 4) + `echo 5` )) $((${x}+${none:-2})) $(("1"+1)) $((x > 2 ? x : 0)) $(( (x) ))
#: what is wrong
(echo $((1/0)); echo never); echo $?
(echo $((1%0)); echo never); echo $?
(echo $((1+)); echo never); echo $?
(echo $((*2)); echo never); echo $?
(echo $((1 2)); echo never); echo $?
(echo $((x y)); echo never); echo $?
(x=abc; echo $((x)); echo never); echo $?
(x='1+2'; echo $((x)); echo never); echo $?
(echo $((1?2)); echo never); echo $?
(echo $((09)); echo never); echo $?
(echo $((3=4)); echo never); echo $?
(echo $(((1)); echo never)); echo $?
(readonly r=1; echo $((r=2)); echo never); echo $?
(x=0; echo $((x/=0)); echo never); echo $?
(echo $((0&&1/0)) $((1||1/0)) $((1?2:1/0))); echo $?
(x=5; echo $((x++)); echo never) ; echo $?
(x=5; echo $((++x)) $x $((--x))); echo $?
(echo $((1,2)); echo never); echo $?
(echo $((2**3)); echo never); echo $?
(echo $((1.5)); echo never); echo $?
(set -u; echo $((nope)); echo never); echo $?
#: the end of a script by a division
echo before; x=$((1/0)); echo never
#: division of the smallest by -1
echo $(((-9223372036854775807 - 1) / 1)) $((1<<63)) $((1<<62)) $((1<<31)) $((0xffffffffffffffff)) $((-1>>63))
#: loops by numbers
i=0; while [ $((i+=1)) -le 3 ]; do echo $i; done; n=10; until [ $((n/=2)) -eq 0 ]; do echo $n; done
f() { echo $(($1*$1)); }; f 3; echo $(($(f 2)+$(f 3))); fib() { if [ $1 -lt 2 ]; then echo $1; else echo $(($(fib $(($1-1)))+$(fib $(($1-2))))); fi; }; fib 8
