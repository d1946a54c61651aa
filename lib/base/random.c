/* lib/base/random.c: see random.h. */
#include "lib/base/random.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base/clock.h"

void cds_random(void *buf, size_t len)
{
    unsigned char *p = buf;
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            perror("getrandom");
            abort();
        }
        p += n;
        len -= (size_t)n;
    }
}

void cds_uuid7(char out[static CDS_UUID_LEN + 1])
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t last_ms;
    static uint16_t counter;
    unsigned char b[16];

    cds_random(b, sizeof(b));
    pthread_mutex_lock(&lock);
    uint64_t ms = cds_wall_ms();
    if (ms <= last_ms) { /* same millisecond, or the clock went back: count on, so that ids keep rising */
        ms = last_ms;
        if (++counter > 0xfff) {
            ms = ++last_ms;
            counter = 0;
        }
    } else {
        last_ms = ms;
        counter = (uint16_t)((b[6] << 8 | b[7]) & 0x7ff); /* half of the range left to count in */
    }
    uint16_t count = counter;
    pthread_mutex_unlock(&lock);

    for (int i = 0; i < 6; i++)
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | count >> 8);
    b[7] = (unsigned char)count;
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (int i = 0, o = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[o++] = '-';
        snprintf(out + o, 3, "%02x", b[i]);
        o += 2;
    }
}

int cds_uuid_valid(const char *text)
{
    if (!text || strlen(text) != CDS_UUID_LEN)
        return 0;
    for (int i = 0; i < CDS_UUID_LEN; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-')
                return 0;
        } else if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) {
            return 0;
        }
    }
    return 1;
}
