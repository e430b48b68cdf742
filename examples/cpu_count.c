/* The number of CPUs, as Python's os.cpu_count() tells it, and the number of those that this program may use. */
#include <mp.h>
#include <stdio.h>

int main(void)
{
    printf("%d\n", mp_cpu_count());
    printf("this program may use %d\n", mp_usable_cpu_count());
    return 0;
}
