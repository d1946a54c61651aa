/* apps/llmworker/answers.h: requests of the server and the jobs of the scheduler they consist of: one job for each answer to each prompt.
 *
 * The answers to one prompt share its cells: the first one reads the prompt, the others fork off at its end.
 * Threads: one owner, that of the scheduler.
 */
#pragma once

#include "apps/llmworker/message.h"
#include "apps/llmworker/prompt.h"
#include "apps/llmworker/scheduler.h"
#include "apps/llmworker/solo.h"

struct cds_answer;
struct cds_answers {
    struct cds_answer *first;
    struct cds_sched *sched;
    struct cds_solo *solo; /**< for answers that must be the same bit by bit */
    const struct cds_engine *engine;
    int64_t token_job; /**< job of the token that was chosen last; on_text follows for the same job */
    int32_t token;
    const struct cds_picked *picked;
    int exchange; /**< memory file for states (exchange.h); below 0: none */
};

/** Tokenizes the prompts and adds the jobs. @return CDS_OK with prompt and ceiling of each answer; what cds_prompt_make and cds_sched_add say */
CDS_MUST_USE cds_rc cds_answers_add(struct cds_answers *answers, const struct cds_prompter *prompter, struct cds_prepare *prepare,
                                    uint32_t *ret_prompt_tokens, uint32_t *ret_max_tokens, struct cds_err *reterr);
/** save_bytes: of a request that only reads its prompt, the state goes out when it has at most so many bytes; 0: it does not. */
void cds_answers_start(struct cds_answers *answers, int64_t id, uint32_t granted, uint64_t save_bytes);
void cds_answers_grant(struct cds_answers *answers, int64_t id, uint32_t granted, bool last);
void cds_answers_cancel(struct cds_answers *answers, int64_t id);
void cds_answers_clear(struct cds_answers *answers);

/** The scheduler chose a token: remembered for the text that follows. */
void cds_answers_token(struct cds_answers *answers, int64_t job, int32_t token, const void *sampler);
/** The prompt of a job is read: its state goes out when its request wants that. */
void cds_answers_read(struct cds_answers *answers, int64_t job, int sequence, const int32_t *tokens, size_t count);
/** The chance of a token of a prompt is known. */
void cds_answers_told(struct cds_answers *answers, int64_t job, uint32_t position, const void *sampler);
/**
 * The text of that token. @return the event for the server, owned by the caller; NULL when memory is out
 * [request, tokens of this answer so far, text, {"c": answer, "lp": [[[bytes], logprob, [[[bytes], logprob]...]]...], "d": [deltas],
 * "ids": [tokens]}];
 * the fourth is left out when it would be empty, and so is the text where there are deltas.
 */
cds_json *cds_answers_text(struct cds_answers *answers, int64_t job, const char *text, size_t len, uint32_t completion_tokens);
/**
 * A job ended. @return NULL while other answers of its request go on; else the parameters of "done"
 * @param ret_last  event with what was still held back, NULL without
 */
cds_json *cds_answers_end(struct cds_answers *answers, const struct cds_job_report *report, cds_json **ret_last);
