#include "apps/llmworker/forced.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

#include "apps/llmworker/shim.h"

/* PIECE_MAX: of a piece that is longer, only the beginning is compared. EXTENSIONS_MAX: so many longer tokens are held against the grammar.
 * OTHERS_MAX: tokens that begin with a byte that has no token of its own. */
enum { PIECE_MAX = 48, BYTES = 256, EXTENSIONS_MAX = 64, OTHERS_MAX = 512 };

struct piece {
    int32_t token;
    uint8_t len;
    char text[PIECE_MAX];
};
struct cds_spelling {
    const struct llama_vocab *vocab;
    struct piece *pieces; /**< of all tokens that are text, by their text */
    size_t count;
    int32_t byte[BYTES];       /**< token of each single byte */
    int32_t other[OTHERS_MAX]; /**< those that begin with another byte */
    unsigned other_count;
    int32_t end; /**< one that ends an answer */
};

static int by_text(const void *a, const void *b)
{
    const struct piece *left = a, *right = b;
    size_t len = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->text, right->text, len);
    return order ? order : (int)left->len - (int)right->len;
}

struct cds_spelling *cds_spelling_new(const struct llama_vocab *vocab)
{
    int32_t count = llama_vocab_n_tokens(vocab);
    struct cds_spelling *spelling = calloc(1, sizeof(*spelling));
    if (spelling)
        spelling->pieces = calloc((size_t)count, sizeof(*spelling->pieces));
    if (!spelling || !spelling->pieces) {
        cds_spelling_free(spelling);
        return NULL;
    }
    spelling->vocab = vocab;
    spelling->end = llama_vocab_eos(vocab);
    for (int i = 0; i < BYTES; i++)
        spelling->byte[i] = -1;
    for (int32_t token = 0; token < count; token++) {
        struct piece *piece = &spelling->pieces[spelling->count];
        if (llama_vocab_get_attr(vocab, token) & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNUSED | LLAMA_TOKEN_ATTR_UNKNOWN))
            continue;
        int n = llama_token_to_piece(vocab, token, piece->text, PIECE_MAX, 0, false);
        if (n <= 0)
            continue; /* longer than any forced text is worth */
        piece->token = token;
        piece->len = (uint8_t)n;
        spelling->count++;
        if (n == 1 && spelling->byte[(unsigned char)piece->text[0]] < 0)
            spelling->byte[(unsigned char)piece->text[0]] = token;
    }
    qsort(spelling->pieces, spelling->count, sizeof(*spelling->pieces), by_text);
    for (size_t i = 0; i < spelling->count; i++) {
        if (spelling->byte[(unsigned char)spelling->pieces[i].text[0]] >= 0)
            continue;
        if (spelling->other_count == OTHERS_MAX || spelling->end < 0) {
            cds_spelling_free(spelling);
            return NULL;
        }
        spelling->other[spelling->other_count++] = spelling->pieces[i].token;
    }
    return spelling;
}

void cds_spelling_free(struct cds_spelling *spelling)
{
    if (spelling)
        free(spelling->pieces);
    free(spelling);
}

/** The only byte that may come next; -1: there are several, or the answer may end. */
static int only_byte(const struct cds_spelling *spelling, struct cds_shim_grammar *grammar)
{
    llama_token_data room[BYTES + OTHERS_MAX + 1];
    size_t count = 0;
    int only = -1;
    for (int i = 0; i < BYTES; i++)
        if (spelling->byte[i] >= 0)
            room[count++] = (llama_token_data){spelling->byte[i], 1, 0};
    size_t single = count;
    for (unsigned i = 0; i < spelling->other_count; i++)
        room[count++] = (llama_token_data){spelling->other[i], 1, 0};
    room[count++] = (llama_token_data){spelling->end, 1, 0};
    llama_token_data_array list = {room, count, -1, false};
    if (!cds_shim_grammar_mask(grammar, &list))
        return -1;
    for (size_t i = 0, at = 0; i < BYTES; i++) {
        if (spelling->byte[i] < 0)
            continue;
        if (room[at++].logit == -INFINITY)
            continue;
        if (only >= 0)
            return -1;
        only = (int)i;
    }
    /* What begins otherwise, and the end: neither may come next. */
    for (size_t i = single; i < count; i++)
        if (room[i].logit != -INFINITY)
            return -1;
    return only;
}

/** Tokens that spell the text, without the last one. */
static void spell(struct cds_forced *forced, const struct cds_spelling *spelling)
{
    llama_token tokens[CDS_FORCED_MAX + 8];
    char text[CDS_FORCED_MAX];
    int32_t count = forced->len ? llama_tokenize(spelling->vocab, forced->text, (int32_t)forced->len, tokens, CDS_FORCED_MAX + 8, false, false) : 0;
    size_t at = 0;
    /* A tokenizer that adds a blank in front spells another text. */
    for (int32_t i = 0; i < count; i++) {
        int n = llama_token_to_piece(spelling->vocab, tokens[i], text, sizeof(text), 0, false);
        if (n <= 0 || at + (size_t)n > forced->len || memcmp(forced->text + at, text, (size_t)n) != 0)
            return;
        at += (size_t)n;
    }
    for (int32_t i = 0; i + 1 < count && i < CDS_FORCED_TOKENS; i++)
        forced->tokens[forced->count++] = tokens[i];
    if (count - 1 > CDS_FORCED_TOKENS)
        forced->whole = false;
}

void cds_forced_find(struct cds_forced *forced, const struct cds_spelling *spelling, struct cds_shim_grammar *grammar)
{
    if (forced->known)
        return;
    *forced = (struct cds_forced){.known = true, .whole = true};
    int byte = only_byte(spelling, grammar);
    struct cds_shim_grammar *ahead = byte >= 0 ? cds_shim_grammar_clone(grammar) : NULL;
    while (ahead && byte >= 0) {
        if (forced->len == CDS_FORCED_MAX || !cds_shim_grammar_accept(ahead, spelling->byte[byte])) {
            forced->whole = false;
            break;
        }
        forced->text[forced->len++] = (char)byte;
        byte = only_byte(spelling, ahead);
    }
    cds_shim_grammar_free(ahead);
    spell(forced, spelling);
}

void cds_forced_accept(struct cds_forced *forced, const struct cds_spelling *spelling, int32_t token)
{
    char piece[CDS_FORCED_MAX];
    int n = forced->known ? llama_token_to_piece(spelling->vocab, token, piece, sizeof(piece), 0, false) : 0;
    bool planned = forced->at < forced->count;
    if (n <= 0 || (unsigned)n >= forced->len || memcmp(piece, forced->text, (size_t)n) != 0 || (planned && forced->tokens[forced->at] != token)) {
        forced->known = false;
        return;
    }
    forced->len -= (unsigned)n;
    memmove(forced->text, forced->text + n, forced->len);
    forced->at += planned;
    if (forced->at == forced->count && !forced->whole)
        forced->known = false; /* there is more of it than was looked at */
}

/** First piece that is not before this text. */
static size_t lower(const struct cds_spelling *spelling, const char *text, size_t len)
{
    size_t low = 0, high = spelling->count;
    struct piece wanted = {.len = (uint8_t)(len < PIECE_MAX ? len : PIECE_MAX)};
    memcpy(wanted.text, text, wanted.len);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_text(&spelling->pieces[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_piece(const struct cds_spelling *spelling, size_t at, const char *text, size_t len)
{
    return at < spelling->count && spelling->pieces[at].len == len && memcmp(spelling->pieces[at].text, text, len) == 0;
}

static int32_t only_token(const struct cds_forced *forced, const struct cds_spelling *spelling, struct cds_shim_grammar *grammar)
{
    int32_t only = -1;
    unsigned most = forced->len < PIECE_MAX ? forced->len : PIECE_MAX;
    for (unsigned len = 1; len <= most; len++)
        for (size_t at = lower(spelling, forced->text, len); is_piece(spelling, at, forced->text, len); at++) {
            if (only >= 0)
                return -1;
            only = spelling->pieces[at].token;
        }
    if (only < 0 || forced->len >= PIECE_MAX)
        return only;
    /* Longer ones, whose end is the choice that comes behind the forced text. */
    size_t at = lower(spelling, forced->text, forced->len), seen = 0;
    for (; at < spelling->count && spelling->pieces[at].len >= forced->len && memcmp(spelling->pieces[at].text, forced->text, forced->len) == 0; at++)
        if (spelling->pieces[at].len > forced->len && (++seen > EXTENSIONS_MAX || cds_shim_grammar_allows(grammar, spelling->pieces[at].token)))
            return -1;
    return only;
}

int32_t cds_forced_next(const struct cds_forced *forced, const struct cds_spelling *spelling, struct cds_shim_grammar *grammar)
{
    if (forced->at < forced->count)
        return forced->tokens[forced->at];
    return forced->len && forced->whole ? only_token(forced, spelling, grammar) : -1;
}
