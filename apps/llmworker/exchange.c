#include "apps/llmworker/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static cds_json *problem(const char *text)
{
    return cds_json_pack("{s:s}", "problem", text);
}

cds_json *cds_exchange_save(int fd, const struct cds_engine_ops *ops, void *engine, int sequence, const int32_t *tokens, size_t count,
                            uint64_t most_bytes)
{
    char text[160];
    size_t head = count * sizeof(*tokens), state = ops->state_size ? ops->state_size(engine, sequence) : 0, bytes = head + state;
    if (fd < 0 || state == 0)
        return problem("This model has no state that can be kept.");
    if (bytes > most_bytes) {
        snprintf(text, sizeof(text), "The state takes %zu bytes, but there is room for %llu.", bytes, (unsigned long long)most_bytes);
        return problem(text);
    }
    void *map = ftruncate(fd, (off_t)bytes) == 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED)
        return problem("There is not enough memory for the state.");
    memcpy(map, tokens, head);
    size_t written = ops->state_get(engine, sequence, (uint8_t *)map + head, state);
    munmap(map, bytes);
    if (written != state)
        return problem("The library could not write the state.");
    return cds_json_pack("{s:I,s:I}", "bytes", (long long)bytes, "tokens", (long long)count);
}

cds_rc cds_exchange_restore(int fd, struct cds_sched *sched, uint32_t vocabulary, const struct cds_adapter_set *adapters, const cds_json *params,
                            struct cds_err *reterr)
{
    int64_t bytes = cds_json_get_i64(params, "bytes", 0), count = cds_json_get_i64(params, "tokens", 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || bytes <= 0 || st.st_size < bytes || count <= 0 || count > bytes / (int64_t)sizeof(int32_t))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The state is not whole.");
    size_t head = (size_t)count * sizeof(int32_t);
    const void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return cds_fail_errno(reterr, errno, __func__, "The state could not be read.");
    const int32_t *tokens = map;
    cds_rc rc = CDS_OK;
    for (int64_t i = 0; rc == CDS_OK && i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocabulary)
            rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The state names tokens that this model does not have.");
    if (rc == CDS_OK)
        rc = cds_sched_restore(sched, (uint64_t)cds_json_get_i64(params, "scope", 0), adapters, tokens, (size_t)count, (const uint8_t *)map + head,
                               (size_t)bytes - head, reterr);
    munmap((void *)(uintptr_t)map, (size_t)bytes);
    return rc;
}
