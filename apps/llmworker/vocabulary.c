#include "apps/llmworker/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include <llama.h>

#include "lib/base/str.h"

enum { PIECE_MAX = 1024 };

static const struct llama_vocab *vocab_of(const struct cds_engine *engine)
{
    return llama_model_get_vocab(cds_engine_model(engine));
}

void cds_vocabulary_infill(const struct cds_engine *engine, struct cds_infill_tokens *ret)
{
    const struct llama_vocab *vocab = vocab_of(engine);
    *ret = (struct cds_infill_tokens){
        .prefix = llama_vocab_fim_pre(vocab),
        .suffix = llama_vocab_fim_suf(vocab),
        .middle = llama_vocab_fim_mid(vocab),
        .file = llama_vocab_fim_sep(vocab),
        .repository = llama_vocab_fim_rep(vocab),
    };
}

bool cds_vocabulary_can_infill(const struct cds_engine *engine)
{
    struct cds_infill_tokens tokens;
    cds_vocabulary_infill(engine, &tokens);
    return tokens.prefix >= 0 && tokens.suffix >= 0 && tokens.middle >= 0;
}

int32_t cds_vocabulary_bos(const struct cds_engine *engine)
{
    return llama_vocab_get_add_bos(vocab_of(engine)) ? llama_vocab_bos(vocab_of(engine)) : -1;
}

int32_t cds_vocabulary_eos(const struct cds_engine *engine)
{
    const struct llama_vocab *vocab = vocab_of(engine);
    if (llama_vocab_get_add_eos(vocab))
        return llama_vocab_eos(vocab) >= 0 ? llama_vocab_eos(vocab) : llama_vocab_sep(vocab);
    /* A WordPiece vocabulary ends its texts with the separator. */
    return llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_WPM ? llama_vocab_sep(vocab) : -1;
}

int32_t cds_vocabulary_separator(const struct cds_engine *engine)
{
    const struct llama_vocab *vocab = vocab_of(engine);
    /* Between two texts that already end with one (WordPiece) it would stand twice. */
    return llama_vocab_get_add_sep(vocab) && llama_vocab_get_add_eos(vocab) ? llama_vocab_sep(vocab) : -1;
}

cds_json *cds_vocabulary_special(const struct cds_engine *engine)
{
    static const struct {
        const char *name;
        llama_token (*of)(const struct llama_vocab *vocab);
    } kinds[] = {
        {"bos", llama_vocab_bos},         {"eos", llama_vocab_eos},         {"eot", llama_vocab_eot},         {"sep", llama_vocab_sep},
        {"nl", llama_vocab_nl},           {"pad", llama_vocab_pad},         {"mask", llama_vocab_mask},       {"fim_pre", llama_vocab_fim_pre},
        {"fim_suf", llama_vocab_fim_suf}, {"fim_mid", llama_vocab_fim_mid}, {"fim_pad", llama_vocab_fim_pad}, {"fim_rep", llama_vocab_fim_rep},
        {"fim_sep", llama_vocab_fim_sep},
    };
    cds_json *special = cds_json_object();
    for (size_t i = 0; i < CDS_ARRAY_LEN(kinds); i++) {
        llama_token token = kinds[i].of(vocab_of(engine));
        if (token >= 0)
            cds_json_set(special, kinds[i].name, cds_json_int(token));
    }
    return special;
}

/** A text, or the list of its bytes. */
static cds_json *text_or_bytes(const char *text, size_t len)
{
    if (cds_utf8_valid(text, len) && !memchr(text, '\0', len))
        return cds_json_stringn(text, len);
    cds_json *bytes = cds_json_array();
    for (size_t i = 0; i < len; i++)
        cds_json_append(bytes, cds_json_int((unsigned char)text[i]));
    return bytes;
}

cds_json *cds_vocabulary_piece(const struct cds_engine *engine, int32_t token)
{
    char piece[PIECE_MAX];
    int n = cds_engine_token_bytes(engine, token, piece, sizeof(piece));
    return text_or_bytes(piece, (size_t)n);
}

static cds_json *attributes(enum llama_token_attr attr)
{
    static const struct {
        enum llama_token_attr bit;
        const char *name;
    } names[] = {
        {LLAMA_TOKEN_ATTR_UNKNOWN, "unknown"},
        {LLAMA_TOKEN_ATTR_UNUSED, "unused"},
        {LLAMA_TOKEN_ATTR_NORMAL, "normal"},
        {LLAMA_TOKEN_ATTR_CONTROL, "control"},
        {LLAMA_TOKEN_ATTR_USER_DEFINED, "user_defined"},
        {LLAMA_TOKEN_ATTR_BYTE, "byte"},
        {LLAMA_TOKEN_ATTR_NORMALIZED, "normalized"},
        {LLAMA_TOKEN_ATTR_LSTRIP, "lstrip"},
        {LLAMA_TOKEN_ATTR_RSTRIP, "rstrip"},
        {LLAMA_TOKEN_ATTR_SINGLE_WORD, "single_word"},
    };
    cds_json *list = cds_json_array();
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if ((unsigned)attr & (unsigned)names[i].bit)
            cds_json_append(list, cds_json_string(names[i].name));
    return list;
}

cds_json *cds_vocabulary_list(const struct cds_engine *engine, uint32_t from, uint32_t count)
{
    const struct llama_vocab *vocab = vocab_of(engine);
    uint32_t all = (uint32_t)llama_vocab_n_tokens(vocab);
    uint32_t end = from < all && count < all - from ? from + count : all;
    cds_json *list = cds_json_array();
    for (uint32_t i = from; i < end; i++) {
        int32_t token = (int32_t)i;
        const char *text = llama_vocab_get_text(vocab, token);
        cds_json *one =
            cds_json_pack("{s:i,s:o,s:o,s:o}", "id", (int)token, "piece", cds_vocabulary_piece(engine, token), "text",
                          text ? text_or_bytes(text, strlen(text)) : cds_json_null(), "attributes", attributes(llama_vocab_get_attr(vocab, token)));
        cds_json *score = cds_json_real((double)llama_vocab_get_score(vocab, token));
        cds_json_set(one, "score", score ? score : cds_json_null());
        cds_json_set(one, "ends", cds_json_bool(llama_vocab_is_eog(vocab, token)));
        cds_json_append(list, one);
    }
    return list;
}

char *cds_vocabulary_text(const struct cds_engine *engine, const int32_t *tokens, size_t count, bool special, size_t *ret_len)
{
    const struct llama_vocab *vocab = vocab_of(engine);
    int32_t room = 256;
    for (;;) {
        char *text = malloc((size_t)room);
        if (!text)
            return NULL;
        int32_t n = llama_detokenize(vocab, tokens, (int32_t)count, text, room, false, special);
        if (n >= 0) {
            *ret_len = (size_t)n;
            return text;
        }
        free(text);
        if (n == INT32_MIN || room >= -n)
            return NULL;
        room = -n;
    }
}
