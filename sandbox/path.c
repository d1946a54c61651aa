/* sandbox/path.c: see path.h. */
#include "sandbox/path.h"

#include <string.h>

#include "lib/base/str.h"

static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *why)
{
    cds_fail(reterr, CDS_DENIED, __func__, "%s", why);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "Name a file below the project, like src/main.py.");
    return CDS_DENIED;
}

static cds_rc check_part(const char *part, size_t len, struct cds_err *reterr)
{
    if (len == 2 && part[0] == '.' && part[1] == '.')
        return refuse(reterr, "fs.outside_root", "The path leads out of the project with \"..\".");
    if (len == 0 || (len == 1 && part[0] == '.'))
        return refuse(reterr, "fs.name", "The path has an empty part or \".\".");
    if (len > CDS_PATH_PART_MAX)
        return refuse(reterr, "fs.name", "A name in the path is longer than 255 bytes.");
    if (len >= sizeof(CDS_PATH_TEMP_PREFIX) - 1 && !memcmp(part, CDS_PATH_TEMP_PREFIX, sizeof(CDS_PATH_TEMP_PREFIX) - 1))
        return refuse(reterr, "fs.name", "Names that begin with " CDS_PATH_TEMP_PREFIX " are used by the studio itself.");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)part[i] < 0x20 || part[i] == 0x7f)
            return refuse(reterr, "fs.name", "The path holds a control character.");
    return CDS_OK;
}

cds_rc cds_path_parse(const char *text, size_t len, struct cds_path *ret, struct cds_err *reterr)
{
    size_t parts = 0, last = 0;
    if (len > CDS_PATH_MAX)
        return refuse(reterr, "fs.name", "The path is longer than 4096 bytes.");
    if (len && text[0] == '/')
        return refuse(reterr, "fs.outside_root", "The path is absolute.");
    if (!cds_utf8_valid(text, len))
        return refuse(reterr, "fs.name", "The path is not UTF-8.");
    for (size_t from = 0; len && from <= len; parts++) {
        const char *slash = memchr(text + from, '/', len - from);
        size_t end = slash ? (size_t)(slash - text) : len;
        cds_rc rc = check_part(text + from, end - from, reterr);
        if (rc)
            return rc;
        if (parts == CDS_PATH_DEPTH_MAX)
            return refuse(reterr, "fs.name", "The path has more than 64 parts.");
        last = from;
        from = end + 1;
    }
    memcpy(ret->text, text, len);
    ret->text[len] = '\0';
    ret->parts = parts;
    ret->parent_len = last ? last - 1 : 0;
    ret->name_at = last;
    return CDS_OK;
}

cds_rc cds_path_parse_below(const char *text, size_t len, struct cds_path *ret, struct cds_err *reterr)
{
    if (len == 0)
        return refuse(reterr, "fs.name", "The path is empty: it names the project itself.");
    return cds_path_parse(text, len, ret, reterr);
}
