// The one type of <time.h> that the interface needs, as Windows has it: for a compiler that has no C
// library for its target (seam.h says why).

#ifndef LICENCE_HOST_BARE_TIME_H
#define LICENCE_HOST_BARE_TIME_H

struct tm {
    int tm_sec;
    int tm_min;
    int tm_hour;
    int tm_mday;
    int tm_mon;
    int tm_year;
    int tm_wday;
    int tm_yday;
    int tm_isdst;
};

#endif
