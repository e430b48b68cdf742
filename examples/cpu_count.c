/* How many CPUs there are. Beyond Python's os.cpu_count(): how many of them this program may use. */
#include <mp.h>
#include <stdio.h>

int main(void)
{
    printf("%d\n", mp_cpu_count());
    printf("this program may use %d\n", mp_usable_cpu_count());
    return 0;
}
