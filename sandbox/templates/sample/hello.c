/* Compiled and run inside the sandbox. */
#include <stdio.h>

static unsigned long long factorial(unsigned n)
{
    return n < 2 ? 1 : n * factorial(n - 1);
}

int main(void)
{
    for (unsigned n = 1; n <= 10; n++)
        printf("%2u! = %llu\n", n, factorial(n));
    return 0;
}
