#: escapes in the format
printf 'a\nb\tc\\d\101\1012\060|\0101|\e'; printf '\a\b\f\r\v'; printf '\"\q\8|'; printf 'x\cy'; printf '|\n'; printf '\'; echo; printf '\0|\00|\000|\0000'; printf '\377\200' | wc -c; printf '\x41|'; echo; printf "\\045d\n" 5
#: %b
printf '%b|' 'a\nb' '\101' '\0101' '\060' '\0' '\\' '\q' '\"' '\t' '\x41'; printf '%b' 'one\ctwo' three; printf '|\n'; printf '%b\n' a 'b\c' never; echo; printf '[%5b][%-5b][%.2b]\n' 'a\tb' 'x' 'abc'; printf '%b' '\0377\0200' | wc -c
#: strings
printf '[%s][%5s][%-5s][%.2s][%5.1s][%-5.3s][%05s]\n' abc abc abc abc abc abcdef abc; printf '%s\n'; printf '%s %s\n' a b c; printf '%s\n' 'a b' '' c; printf '[%c][%c][%3c][%-3c]\n' abc '' x y; printf '%%|%5%|\n'; printf '[%s]\n' é; printf '[%3s]\n' é
#: numbers
printf '%d %i %u %o %x %X %d\n' 42 42 42 42 255 255 -7; printf '[%5d][%-5d][%05d][%+d][% d][%+5d][%.3d][%6.3d][%-6.3d]\n' 42 42 42 42 42 42 7 7 7; printf '%#x %#o %#X\n' 255 8 255; printf '%d %d %d %d\n' 0x10 010 "'A" '"B'; printf '%d\n' ''; printf '%u %x\n' -1 -1; printf '%d\n'; printf '%d %d\n' 1; printf '%d\n' ' 5'; printf '%x\n' 0xdeadBEEF; printf '%d\n' +5; printf '%05d|%+05d|%-+5d|\n' -3 3 3; printf '%.0d|%.0d\n' 0 1; printf '%d\n' 9223372036854775807 -9223372036854775808
#: stars
printf '[%*d][%-*d][%*s][%.*s][%*.*s]\n' 5 42 5 42 6 ab 1 xyz 5 2 uvw; printf '[%*d]\n' -5 42
#: wrong numbers
printf '%d\n' abc; echo $?; printf '%d\n' 12abc; echo $?; printf '%d|%d\n' x 5; echo $?; printf '%d\n' 08; echo $?; printf '%x\n' zz 10; echo $?; printf '%d\n' '5 '; echo $?; printf '%d\n' 99999999999999999999; echo $?; printf '%d\n' 1.5; echo $?; printf '%d\n' ''; echo $?; printf '%d\n' 0x; echo $?; printf '%s\n' after
#: formats that are none
printf; echo $?; printf '%z\n' 1; echo $?; printf '%'; echo $?; printf 'a%'; echo $?; printf -- '-%s\n' a; echo $?; printf -- '%s\n' -- a; printf '' a b c; echo $?; printf 'no directive\n' a b; printf '%s' ''; echo $?; printf '%5'; echo $?
#: the format again
printf '%s=%d\n' a 1 b 2 c; printf '(%s)' a b c; echo; printf '%s-%s|' 1 2 3 4 5; echo; printf 'x%sx' ; echo; printf '%s %b\n' a 'b\n' c 'd\t'; printf '%%%s\n' a b
#: floating numbers
printf '%f %.2f %5.1f %e %g %G\n' 1.5 3.14159 2.25 12345 0.0001 1e20; printf '%f\n' abc; echo $?; printf '%.3f|%-8.2f|%08.2f|%+f\n' 1 2 3 4; printf '%g %g %g\n' 100000 1000000 1.5; printf '%f\n' -0.5 0x10 ''
#: echo
echo -n a; echo b; echo -n; echo -n -n c; echo; echo -e x; echo -- y; echo -nn z; echo; echo - -n; echo "a  b" c; echo; echo ''
