#: a directory is not copied into itself
mkdir -p a/x; echo 1 > a/f; cp -r a a/b 2> err; echo $?; [ -s err ] && echo said; rm err; [ -e a/b/b ] || echo no more; cp -r ./a a/c 2>/dev/null; echo $?; [ -e a/c/c ] || echo no more; ls a; rm -r a
mkdir a; echo 1 > a/f; cp -r . a/all 2>/dev/null; echo $?; [ -e a/all/a/all ] || echo no more; rm -r a; mkdir a; echo 1 > a/f; cp -r a/../a a/d/ 2>/dev/null; echo $?; rm -r a; mkdir a; ln -s a l; cp -r a l/b 2>/dev/null; echo $?; ls a/b
#: a directory is not moved into itself
mkdir -p a/b; echo 1 > a/f; mv a a/b 2> err; echo $?; [ -s err ] && echo said; ls a; mv a a 2> err; echo $?; ls; mv a ./a/b/c 2> err; echo $?; ls a; mv a/f a/f 2> err; echo $?; cat a/f; mv a/f ./a/../a/f 2> err; echo $?; cat a/f
#: a file is not copied onto itself
echo 1 > f; ln f g; ln -s f s; cp f f 2> err; echo $?; cp f ./f 2> err; echo $?; cp f g 2> err; echo $?; cp s f 2> err; echo $?; cat f; ln -f f f 2> err; echo $?; cat f; ln -sf f f 2> err; echo $?; cat f; cat f >> f 2> err; echo $?; cat f; cat < f >> f 2> err; echo $?; cat f
#: the end of options
echo 1 > ./-f; cat -- -f; cp -- -f g; cat g; cp -- -f -g; ls; mv -- -g h; ls; rm -- -f; ls; mkdir -- -d; rmdir -- -d; touch -- -t; ln -- -t u; ls -- -t; rm -f -- -t; head -n 1 -- g; wc -l -- g; ls; env -- sh -c :; echo $?; sleep -- 0; echo $?; rm -rf -- none; echo $?; mkdir -p -- x/y; ls x
#: options that are not there
echo 1 > f; for c in 'cat -Q f' 'cp -Q f g' 'mv -Q f g' 'rm -Q f' 'ln -Q f g' 'mkdir -Q d' 'rmdir -Q d' 'head -Q f' 'wc -Q f' 'ls -Q1@ f' 'touch -Q f' 'env -Q' 'sleep -Q' 'yes -Q' 'cp --nope f g' 'rm -rfQ f'; do $c > out 2> err; echo "$? $c"; [ -s err ] && echo said; [ -s out ] && echo no; done; ls
#: options together
mkdir -p d/e; echo 1 > d/f; rm -rf d; ls; mkdir d; rm -fr d none; ls; mkdir d; rm -r -f d; ls; echo a > f; ln -s f l; ln -sf g l; ls -1a | head -n 3; ls -ad .; cp -Rr f g; ls; mkdir d; cp f d -r; ls d; rm d -r; ls; head -n1 f; head -n 1 f; head -1 f; head -c1 f; echo; wc -lc f; wc -l -w f
#: several files
echo 1 > a; echo 2 > b; cat a none b; echo $?; cat a b > ab; cat ab; rm a none b; echo $?; ls; mkdir x ab y; echo $?; ls; rmdir x none y; echo $?; ls; touch p q none/r s; echo $?; ls; mkdir d; cp p none q d; echo $?; ls d; mv d/p none s d/q .; echo $?; ls d; ls; cp p q none; echo $?; mv p q s; echo $?; ls none p; echo $?; ls p none/x d; echo $?; ln p q d; echo $?; ls d; head -n 1 ab none p; echo $?; wc ab none p 2>/dev/null; echo $?
#: stdin by its name
echo in > f; echo piped | cat - f; echo piped | cat f - f; echo piped | cat; echo a b c | wc -w -; echo a b c | wc -; echo a b c | wc; wc < f; wc f; echo piped | head -n 1 -; echo piped | head -n 1 - f; printf 'a\nb\nc\n' | head -n 2; printf 'a\nb' | head; printf abc | head -c 2; echo; head -n 0 f; printf 'a\nb\nc\n' | { head -n 1 > /dev/null; :; }; cat < f - < f; cat f f | wc -l
#: counts
: > e; echo a > one; printf 'a b\nc' > two; i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i + 1)); done > big; wc e; wc one; wc two big; wc -l e one; wc -w big; wc -c < big; wc -l big two e; cat big | wc -l; wc big one none 2>/dev/null; echo $?
#: copies
mkdir s; echo 1 > s/f; mkdir s/d; ln -s f s/l; ln -s none s/dead; cp -r s t; ls t; [ -L t/l ] && [ -L t/dead ] && echo links; cp -r s t; ls t; cp s u; echo $?; ls; cp -r s/l m; [ -L m ] && echo link; cp s/l n; [ -L n ] || echo file; cp s/f t/d; ls t/d; cp s/f t/f; cp -r s/f t/d/g; ls t/d; cp s/f none/x; echo $?; cp none x; echo $?; cp s/f; echo $?; cp; echo $?; cp -r s none/x; echo $?; cp -r t s/f; echo $?; cat s/f; cp -r s/. v; ls v; cp -r s/l t/l; echo $?; cp s/dead x; echo $?; cp s/f ''; echo $?; cp '' x; echo $?
#: moves
mkdir a b; echo 1 > a/f; mv a/f b; ls b; mv b/f b/g; ls b; echo 2 > h; mv h b/g; cat b/g; mv b c; ls; mv c a; ls a; mv none x; echo $?; mv a/c none/x; echo $?; mv a; echo $?; mv; echo $?; echo 3 > k; mv a k; echo $?; mv k a; ls a; mkdir a/m m; mv m a; echo $?; ls; echo 1 > a/m/f; mkdir m; mv m a; echo $?; ln -s a l; mv l n; [ -L n ] && echo link; mv -f a/k o; ls; mv o o2 o3; echo $?; mv '' x; echo $?
#: links
echo 1 > f; ln f g; [ f -ef g ] && echo same; ln -s f s; cat s; ln f g; echo $?; ln -s f s; echo $?; echo 2 > h; ln -sf h s; cat s; ln -f h g; cat g; mkdir d; ln -s ../f d; cat d/f; ln f h d; echo $?; ls d; ln -s d sd; ln -s f sd; echo $?; ln -sfn h sd; cat sd; ln none x; echo $?; ln -s nothing dangling; [ -L dangling ] && echo link; ln -s f; echo $?; ln; echo $?; ln d e; echo $?; ls
#: what is removed
mkdir -p d/e/f; echo 1 > d/e/g; rm d; echo $?; rm -f d; echo $?; rmdir d; echo $?; rm -r d/e; ls d; rmdir d; ls; rm none; echo $?; rm -f none; echo $?; rm -f; echo $?; rm; echo $?; mkdir d; rm -r d/.; echo $?; rm -rf ./; echo $?; rm -r d/..; echo $?; ls; rm -rf ''; echo $?; rm ''; echo $?; ln -s d l; rm -r l; ls; mkdir -p a/b/c; cd a/b; rm -rf ../b/c; cd ../..; ls a; rmdir a/b/; ls a; rmdir .; echo $?
#: directories that are made
mkdir a; mkdir a; echo $?; mkdir -p a; echo $?; mkdir -p a/b/c d/e; ls a d; mkdir x/y; echo $?; echo 1 > f; mkdir f; echo $?; mkdir -p f; echo $?; mkdir -p f/g; echo $?; mkdir; echo $?; mkdir ''; echo $?; mkdir a/./z a/../w; ls; ls a; mkdir q/; ls -d q
#: what is listed
mkdir d e; echo 1 > d/b; echo 2 > d/a; echo 3 > d/.h; ls; ls d; ls -d d; ls -d d e; ls d e; ls e; ls d/a d/b; ls b a; echo $?; ls d none e; echo $?; ls -1 d; ln -s none l; ls l; ls -d l; ls .; ls ./d; ls ''; echo $?; : > B; : > c; ls
#: the environment of a program
env -i x=1 env; env -i env; x=2 env | head -n 0; env x=1 sh -c 'echo $x'; env -u x sh -c 'echo [$x]'; x=3 env -u x sh -c 'echo [$x]'; env -i a=1 b=2 sh -c 'echo $a$b'; env nonsense; echo $?; env - y=1 env; env -i a='b c' env; env x=1 y=2 env | head -n 0; env sh -c 'exit 4'; echo $?; env sh -c 'echo $1' x -i
#: sleep and yes
sleep; echo $?; sleep x; echo $?; sleep 0 0; echo $?; sleep 0.01s; echo $?; yes a b | head -n 2; yes | head -n 1; yes -- -n | head -n 1
#: touch
touch a b; ls; [ -s a ] || echo empty; echo 1 > a; touch a; cat a; mkdir d; touch d; echo $?; touch none/x; echo $?; touch; echo $?; touch ''; echo $?; touch x -- -y; ls
