#pragma once
typedef unsigned tcflag_t;
struct termios {
  tcflag_t c_iflag, c_oflag, c_cflag, c_lflag;
  unsigned char c_cc[32];
};
#define TCSANOW 0
#define VMIN 6
#define VTIME 5
#define IGNBRK 1
#define BRKINT 2
#define PARMRK 8
#define ISTRIP 32
#define INLCR 64
#define IGNCR 128
#define ICRNL 256
#define IXON 1024
#define OPOST 1
#define ECHO 8
#define ECHONL 64
#define ICANON 2
#define IEXTEN 32768
#define CSIZE 48
#define PARENB 256
#define CS8 48
int tcgetattr(int fd, struct termios *to);
int tcsetattr(int fd, int when, const struct termios *from);
