/* apps/llmserver/once.h: a request with an Idempotency-Key is carried out once, and its answer is kept for whoever asks again.
 *
 * Source:  draft-ietf-httpapi-idempotency-key-header-07; docs/adr/0071-idempotency-keys.md; database/migrations/0015_usage.sql.
 * Threads: loop thread only.
 * Rule:    the row of a key is made before anything is computed, and what the ledger booked decides what may be computed again: a key is never billed
 *          twice, whoever dies. What is on its way here is in memory; everything else is asked of the database.
 * Limits:  CDS_ONCE_KEY_MAX bytes of a key, CDS_ONCE_ANSWER_MAX of an answer that is kept, CDS_ONCE_KEYS_MAX valid keys of one caller,
 * llm.idempotency_ms.
 */
#pragma once

#include "apps/llmserver/app.h"
#include "apps/llmserver/dialect.h"
#include "lib/base/random.h"
#include "lib/db/db.h"

enum { CDS_ONCE_KEY_MAX = 255, CDS_ONCE_ANSWER_MAX = 1 << 20, CDS_ONCE_KEYS_MAX = 1000 };

struct cds_once;
struct cds_onces;

CDS_MUST_USE cds_rc cds_onces_new(struct cds_llm *app, const char *conninfo, const char *node, struct cds_onces **ret, struct cds_err *reterr);
/** No generation may refer to one any more. */
void cds_onces_free(struct cds_onces **onces);
/** Nothing waits to be kept. */
bool cds_onces_idle(const struct cds_onces *onces);
/** Takes over a request that has the header and asks for something that costs. @return false: it has no such header */
bool cds_once_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, const struct cds_dialect *dialect);

/* The life of one, for generations. Each of the ends takes it and sets *once to NULL; NULL inside is fine. */
/** A piece of the answer; more than CDS_ONCE_ANSWER_MAX is given up. */
void cds_once_add(struct cds_once *once, const void *data, size_t len);
/** The end: what was added is the answer. content_type is static text. */
void cds_once_keep(struct cds_once **once, int status, const char *content_type);
/** The end without an answer: it cost something, so it is not carried out again. */
void cds_once_lose(struct cds_once **once);
/** The end of something that cost nothing: the key is free again. */
void cds_once_drop(struct cds_once **once);
/** The ledger has it under another id than was asked. */
void cds_once_moved(struct cds_once *once, const char *request_id);

/* For once_route.c. */
enum cds_once_state { CDS_ONCE_CLAIMING, CDS_ONCE_RUNNING, CDS_ONCE_KEEPING };
struct cds_once_name {
    char principal[CDS_UUID_LEN + 1], key[CDS_ONCE_KEY_MAX + 1], digest[65];
};
/** The one of this server, NULL: only the database can tell. */
struct cds_once *cds_once_find(const struct cds_onces *onces, const struct cds_once_name *name);
/** A new one that is being claimed; NULL: memory is out. */
struct cds_once *cds_once_add_new(struct cds_onces *onces, const struct cds_once_name *name, const char *user_id, const char *request_id);
enum cds_once_state cds_once_state(const struct cds_once *once);
bool cds_once_same_body(const struct cds_once *once, const struct cds_once_name *name);
const char *cds_once_request(const struct cds_once *once);
/** Asks the database for it; done gets user. @return CDS_OK: done is called later */
CDS_MUST_USE cds_rc cds_once_claim(struct cds_once *once, cds_dbq_done_fn *done, void *user);
/** Place for those who asked meanwhile; once_route.c's own. */
void **cds_once_waiting(struct cds_once *once);
/** It was granted to us. */
void cds_once_granted(struct cds_once *once);
/** It was not: forgets it, the database stays as it is. */
void cds_once_forget(struct cds_once **once);
/** The answer that is being kept; NULL: there is none. */
const char *cds_once_answer(const struct cds_once *once, size_t *ret_len, int *ret_status, const char **ret_content_type);
