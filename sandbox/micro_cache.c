/* sandbox/micro_cache.c: what the canaries found is true until the machine boots again or a program changes: so long it is kept in a small file. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/json/json.h"
#include "sandbox/micro_priv.h"

enum { CACHE_MAX = 8192 };

static void mix(uint64_t *key, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        *key = (*key ^ ((const unsigned char *)data)[i]) * 1099511628211u;
}

static void mix_program(uint64_t *key, const char *path)
{
    struct stat st;
    if (stat(path, &st))
        return;
    mix(key, &st.st_ino, sizeof(st.st_ino));
    mix(key, &st.st_size, sizeof(st.st_size));
    mix(key, &st.st_mtim, sizeof(st.st_mtim));
}

/* Boot, kernel, both programs, images, agent, rights, and this version. */
static void key_of(const struct micro *m, char ret[static 17])
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf boot = cds_buf_init(64);
    struct utsname name;
    uint64_t key = m->files.key;
    struct stat kvm = {0};
    if (!cds_read_file("/proc/sys/kernel/random/boot_id", &boot, NULL))
        mix(&key, boot.data, boot.len);
    if (!uname(&name))
        mix(&key, name.version, strlen(name.version));
    mix_program(&key, m->qemu);
    mix_program(&key, m->msb);
    mix(&key, CDS_VERSION, sizeof(CDS_VERSION));
    mix(&key, &m->host->who.change, sizeof(m->host->who.change));
    stat("/dev/kvm", &kvm);
    mix(&key, &kvm.st_mode, sizeof(kvm.st_mode));
    snprintf(ret, 17, "%016llx", (unsigned long long)key);
}

void micro_cache_load(struct micro *m)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CACHE_MAX);
    CDS_JSON_AUTO all = NULL;
    char key[17];
    key_of(m, key);
    if (!m->cache[0] || cds_read_file(m->cache, &text, NULL) || cds_json_parse(text.data, text.len, &all, NULL) ||
        !cds_streq(cds_json_get_str(all, "key"), key))
        return;
    for (int tier = 0; tier < MICRO_TIERS; tier++) {
        const cds_json *one = cds_json_get(all, micro_backend_name((enum micro_tier)tier));
        struct micro_tier_state *s = &m->tiers[tier];
        if (!one)
            continue;
        s->state = cds_json_true(cds_json_get(one, "works"), false) ? MICRO_WORKS : MICRO_FAILS;
        s->took_ms = (uint32_t)cds_json_get_i64(one, "took_ms", 0);
        const char *reason = cds_json_get_str(one, "reason"), *remedy = cds_json_get_str(one, "remedy");
        cds_strcpy(s->reason, sizeof(s->reason), reason ? reason : "");
        cds_strcpy(s->remedy, sizeof(s->remedy), remedy ? remedy : "");
    }
}

void micro_cache_save(const struct micro *m)
{
    char key[17];
    key_of(m, key);
    CDS_JSON_AUTO all = cds_json_pack("{s:s}", "key", key);
    for (int tier = 0; tier < MICRO_TIERS; tier++) {
        const struct micro_tier_state *s = &m->tiers[tier];
        if (s->state != MICRO_UNTRIED)
            cds_json_set(all, micro_backend_name((enum micro_tier)tier),
                         cds_json_pack("{s:b,s:I,s:s,s:s}", "works", s->state == MICRO_WORKS, "took_ms", (int64_t)s->took_ms, "reason", s->reason,
                                       "remedy", s->remedy));
    }
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CACHE_MAX);
    if (m->cache[0] && !cds_json_dump(all, &text))
        (void)!cds_write_file_atomic(m->cache, text.data, text.len, 0600, NULL); /* without it the next start tries again */
}
