/* wasi-libc of 2022 has none: clang's lowering of setjmp needs the names, setjmp.c has the rest. */
#pragma once
typedef unsigned long jmp_buf[2];
int setjmp(jmp_buf) __attribute__((returns_twice));
_Noreturn void longjmp(jmp_buf, int);
