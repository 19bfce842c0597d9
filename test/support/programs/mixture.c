#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int cmp(const void*a,const void*b){return *(int*)a-*(int*)b;}
int fib(int n){return n<2?n:fib(n-1)+fib(n-2);}
int main(int c,char**v){
  int a[100]; unsigned s=1;
  for(int i=0;i<100;i++){s=s*1103515245+12345;a[i]=(s>>8)%1000;}
  qsort(a,100,sizeof*a,cmp);
  for(int i=0;i<100;i++)printf("%d ",a[i]);
  printf("\nfib %d\n",fib(18));
  char*p=0;size_t n=0;
  for(int i=0;i<50;i++){p=realloc(p,n+10000);memset(p+n,i,10000);n+=10000;}
  unsigned h=0;for(size_t i=0;i<n;i++)h=h*31+p[i];
  printf("h %u args %d %s\n",h,c,c>1?v[1]:"");
  for(int i=0;i<5;i++){ switch(i){case 0: puts("zero");break; case 1: puts("one"); case 2: printf("two %g\n", i*1.5);break; default: if(i==3) puts("three"); else printf("%s","other\n");} fflush(stdout);}
  return 7;
}
