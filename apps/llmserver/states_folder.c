#include "apps/llmserver/states_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/llmserver/state_file.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

static const char ending[] = ".state";

bool cds_states_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = name ? strlen(name) : 0;
    return len >= 1 && len <= 64 && strspn(name, letters) == len && name[0] != '.';
}

void cds_states_path(const char *folder, const char *user_id, const char *name, char ret[static PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%.3800s/%.40s/%.64s%s", folder, user_id, name, ending);
}

unsigned cds_states_count(const char *folder, const char *user_id, const char *but, uint64_t *ret_bytes,
                          void (*each)(void *user, const char *name, const char *path, uint64_t bytes), void *user)
{
    char dir[PATH_MAX];
    unsigned count = 0;
    snprintf(dir, sizeof(dir), "%.3800s/%.40s", folder, user_id);
    DIR *entries = opendir(dir);
    *ret_bytes = 0;
    for (const struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        char path[PATH_MAX], name[65] = "";
        struct stat st;
        size_t len = strlen(entry->d_name), tail = sizeof(ending) - 1;
        if (len <= tail || len - tail > 64 || !cds_streq(entry->d_name + len - tail, ending))
            continue;
        memcpy(name, entry->d_name, len - tail);
        cds_states_path(folder, user_id, name, path);
        if (!cds_states_name(name) || cds_streq(name, but) || lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        count++;
        *ret_bytes += (uint64_t)st.st_size;
        if (each)
            each(user, name, path, (uint64_t)st.st_size);
    }
    if (entries)
        closedir(entries);
    return count;
}

cds_json *cds_states_show(const char *name, const char *path, uint64_t bytes)
{
    CDS_CLEANUP(cds_free_ptr) char *text = NULL;
    CDS_JSON_AUTO head = NULL;
    cds_json *one = cds_json_pack("{s:s,s:s,s:I}", "object", "state", "name", name, "bytes", (long long)bytes);
    bool good = cds_state_peek(path, &text, NULL) == CDS_OK && cds_json_parse(text, strlen(text), &head, NULL) == CDS_OK;
    static const char *const members[] = {"model", "tokens", "created", "adapters", "settings"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++) {
        cds_json *value = good ? cds_json_get(head, members[i]) : NULL;
        cds_json_set(one, members[i], value ? cds_json_ref(value) : cds_json_null());
    }
    return one;
}
