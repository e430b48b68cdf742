/* What the errno of a call that failed means, where nothing else is said of that call. */
#ifndef ERROR_H
#define ERROR_H

int system_error(int number);

#endif
