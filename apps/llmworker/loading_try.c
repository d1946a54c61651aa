#include "apps/llmworker/loading.h"

void *cds_loading_try(void *(*make)(void *user, uint32_t cells), void *user, uint32_t cells, uint32_t least)
{
    void *made = make(user, cells);
    while (!made && least && cells > least) {
        cells = cells / 2 > least ? cells / 2 : least;
        made = make(user, cells);
    }
    return made;
}
