/* apps/fetch/source.h: where a model comes from: what an admin types, and which addresses this program may talk to.
 *
 * Forms:   hf:owner/repo[:quant][#branch]     the hub's file of that quantization
 *          hf:owner/repo/path/file.gguf[#branch]
 *          https://host/path/file.gguf
 * Hosts:   a comma list. "example.org" and "*.example.org" mean https on port 443 at a public address. "http://10.0.0.7:8080" or
 *          "https://mirror.lan:8443" mean exactly this origin, and that it may have a private address.
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"

struct sockaddr;

enum { CDS_SOURCE_MAX = 1024, CDS_FILE_NAME_MAX = 160, CDS_PARTS_MAX = 64, CDS_URL_MAX = 4096 };

struct cds_source {
    bool hub;
    char repo[200];              /**< "owner/repo" */
    char file[CDS_SOURCE_MAX];   /**< path in the repository, or "" */
    char quant[32], branch[128]; /**< quant "": the best there is; branch "main" when none is named */
    char url[CDS_SOURCE_MAX];    /**< without the hub */
};
CDS_MUST_USE cds_rc cds_source_parse(const char *text, struct cds_source *ret, struct cds_err *reterr);

/** The last part of a path, as a name for our folder. @return false: not one that ends in .gguf, or with odd characters */
bool cds_source_file_name(const char *path, char ret[static CDS_FILE_NAME_MAX + 1]);
/** Is the file one of several parts ("name-00002-of-00005.gguf")? part counts from 1. */
bool cds_source_part(const char *file, unsigned *ret_part, unsigned *ret_parts);
/** The name of another part of the same model. */
void cds_source_part_name(const char *file, unsigned part, char *ret, size_t size);
/** Does a file name carry this quantization ("q4_k_m" in "Model-Q4_K_M.gguf")? Case does not matter. */
bool cds_source_has_quant(const char *file, const char *quant);

struct cds_host_rules {
    const char *hosts; /**< comma list as above; borrowed */
    const char *hub;   /**< origin of the hub, always allowed; borrowed */
};
/**
 * @param scheme, host, port  of an address, lower case
 * @param ret_private         this origin was named in full: a private address behind it is meant
 */
bool cds_host_allowed(const struct cds_host_rules *rules, const char *scheme, const char *host, unsigned port, bool *ret_private);
/** Is it an address of the internet, not of this machine, its network or a special range? */
bool cds_address_public(const struct sockaddr *address);
