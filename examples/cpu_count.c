/* How many CPUs there are, and how many this program may use. */
#include <mp.h>
#include <stdio.h>

int main(void)
{
    printf("CPUs of the machine: %d\n", mp_cpu_count());
    printf("CPUs this program may use: %d\n", mp_usable_cpu_count());
    return 0;
}
