#include "apps/llmworker/shim.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "chat.h"
#include "common.h"
#include "json-schema-to-grammar.h"
#include "log.h"
#include "reasoning-budget.h"

struct cds_shim {
    common_chat_templates_ptr templates;
    bool thinks = false;
};
struct cds_shim_parser {
    common_chat_parser_params params;
    common_chat_msg before;
    std::vector<std::string> ids;
};
struct cds_shim_grammar {
    llama_sampler *sampler = nullptr;
};

static void explain(char *why, size_t why_size, const char *text)
{
    if (why != nullptr && why_size > 0)
        std::snprintf(why, why_size, "%s", text);
}

/** Runs f; what it throws becomes a sentence and the answer for it. */
template <typename T, typename F> static T guarded(T otherwise, char *why, size_t why_size, F f) noexcept
{
    try {
        return f();
    } catch (const std::exception &failure) {
        explain(why, why_size, failure.what());
    } catch (...) {
        explain(why, why_size, "unknown failure");
    }
    return otherwise;
}

static char *copy_of(const std::string &text)
{
    char *copy = static_cast<char *>(std::malloc(text.size() + 1));
    if (copy == nullptr)
        throw std::bad_alloc();
    std::memcpy(copy, text.c_str(), text.size() + 1);
    return copy;
}

/* --- templates ---------------------------------------------------------------------------------------------------------- */

extern "C" struct cds_shim *cds_shim_open(const char *chat_template, const char *bos, const char *eos, char *why, size_t why_size)
{
    return guarded<cds_shim *>(nullptr, why, why_size, [&]() -> cds_shim * {
        /* libllama-common prints its own lines on stderr; ours are JSON, and what matters comes back as a failure. */
        common_log_set_verbosity_thold(-1);
        auto shim = std::make_unique<cds_shim>();
        shim->templates = common_chat_templates_init(nullptr, chat_template, bos, eos);
        if (!shim->templates) {
            explain(why, why_size, "the template could not be read");
            return nullptr;
        }
        common_chat_templates_inputs trial;
        trial.messages.resize(1);
        trial.messages[0].role = "user";
        trial.messages[0].content = "a";
        trial.reasoning_format = COMMON_REASONING_FORMAT_AUTO;
        shim->thinks =
            guarded<bool>(false, nullptr, 0, [&] { return !common_chat_templates_apply(shim->templates.get(), trial).thinking_start_tag.empty(); });
        return shim.release();
    });
}

extern "C" void cds_shim_close(struct cds_shim *shim)
{
    guarded<bool>(false, nullptr, 0, [&] {
        delete shim;
        return true;
    });
}

extern "C" bool cds_shim_knows_tools(const struct cds_shim *shim)
{
    return guarded<bool>(false, nullptr, 0, [&] {
        auto caps = common_chat_templates_get_caps(shim->templates.get());
        return caps["supports_tools"] && caps["supports_tool_calls"];
    });
}

static bool flag(const common_json &ask, const char *name, bool otherwise)
{
    return ask.contains(name) ? ask.at(name).get<bool>() : otherwise;
}

static common_chat_templates_inputs inputs_of(const common_json &ask)
{
    common_chat_templates_inputs inputs;
    inputs.use_jinja = true;
    inputs.messages = common_chat_msgs_parse_oaicompat(ask.at("messages"));
    inputs.add_bos = flag(ask, "add_bos", false);
    inputs.add_eos = flag(ask, "add_eos", false);
    inputs.enable_thinking = flag(ask, "thinking", true);
    inputs.reasoning_format = COMMON_REASONING_FORMAT_AUTO;
    if (flag(ask, "continue", false)) {
        inputs.continue_final_message = COMMON_CHAT_CONTINUATION_CONTENT;
        inputs.add_generation_prompt = false;
    }
    if (ask.contains("tools")) {
        inputs.tools = common_chat_tools_parse_oaicompat(ask.at("tools"));
        inputs.tool_choice = common_chat_tool_choice_parse_oaicompat(ask.at("tool_choice").get<std::string>());
        inputs.parallel_tool_calls = flag(ask, "parallel_tool_calls", false);
    }
    if (ask.contains("kwargs"))
        for (const auto &entry : ask.at("kwargs").items())
            inputs.chat_template_kwargs[entry.key()] = entry.value().get<std::string>();
    return inputs;
}

/* The library lets a string of JSON hold NUL and half of a surrogate pair as escapes, which not every reader of JSON takes: ours refuses such a text.
 */
static std::string without_half_characters(std::string grammar)
{
    const std::string any = "\"u\" [0-9a-fA-F]{4}";
    const std::string whole = "\"u\" (\"0\" (\"0\" (\"0\" [1-9a-fA-F] | [1-9a-fA-F] [0-9a-fA-F]) | [1-9a-fA-F] [0-9a-fA-F]{2})"
                              " | [1-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})";
    for (size_t at = 0; (at = grammar.find(any, at)) != std::string::npos; at += whole.size())
        grammar.replace(at, any.size(), whole);
    return grammar;
}

/** Triggers as patterns whose first group is where the grammar begins. */
static std::string pattern_of(const common_grammar_trigger &trigger)
{
    switch (trigger.type) {
    case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN:
        return "^[\\s\\S]*?(" + trigger.value + ")[\\s\\S]*";
    case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL:
        return trigger.value;
    default:
        return "^[\\s\\S]*?(" + regex_escape(trigger.value) + ")[\\s\\S]*";
    }
}

extern "C" char *cds_shim_apply(const struct cds_shim *shim, const char *ask_json, char *why, size_t why_size)
{
    return guarded<char *>(nullptr, why, why_size, [&] {
        auto inputs = inputs_of(common_json::parse(ask_json));
        /* The reader of an answer costs milliseconds; plain text needs none. */
        inputs.force_pure_content = inputs.tools.empty() && !shim->thinks && inputs.continue_final_message == COMMON_CHAT_CONTINUATION_NONE;
        auto rendered = common_chat_templates_apply(shim->templates.get(), inputs);
        common_json out = common_json::object();
        out["prompt"] = rendered.prompt;
        out["grammar"] = without_half_characters(rendered.grammar);
        out["grammar_lazy"] = rendered.grammar_lazy;
        out["triggers"] = common_json::array();
        for (const auto &trigger : rendered.grammar_triggers)
            out["triggers"].push_back(pattern_of(trigger));
        out["preserved"] = common_json::array();
        for (const auto &text : rendered.preserved_tokens)
            out["preserved"].push_back(text);
        out["stops"] = common_json::array();
        for (const auto &text : rendered.additional_stops)
            out["stops"].push_back(text);
        out["parser"] = rendered.parser;
        out["format"] = (int)rendered.format;
        out["thinks"] = rendered.supports_thinking;
        out["thinking_start"] = rendered.thinking_start_tag;
        out["thinking_end"] = rendered.thinking_end_tags.empty() ? std::string() : rendered.thinking_end_tags.front();
        out["generation_prompt"] = rendered.generation_prompt;
        return copy_of(out.dump());
    });
}

extern "C" char *cds_shim_schema(const char *schema_json, char *why, size_t why_size)
{
    return guarded<char *>(nullptr, why, why_size,
                           [&] { return copy_of(without_half_characters(json_schema_to_grammar(common_json::parse(schema_json), true))); });
}

/* --- reading answers ---------------------------------------------------------------------------------------------------- */

extern "C" struct cds_shim_parser *cds_shim_parser_new(const char *parser_blob, int format, const char *generation_prompt, char *why, size_t why_size)
{
    return guarded<cds_shim_parser *>(nullptr, why, why_size, [&] {
        auto parser = std::make_unique<cds_shim_parser>();
        parser->params.format = (common_chat_format)format;
        parser->params.reasoning_format = COMMON_REASONING_FORMAT_AUTO;
        parser->params.generation_prompt = generation_prompt;
        if (*parser_blob)
            parser->params.parser.load(parser_blob);
        return parser.release();
    });
}

extern "C" void cds_shim_parser_free(struct cds_shim_parser *parser)
{
    guarded<bool>(false, nullptr, 0, [&] {
        delete parser;
        return true;
    });
}

extern "C" char *cds_shim_parse(struct cds_shim_parser *parser, const char *text, size_t len, bool partial, char *why, size_t why_size)
{
    return guarded<char *>(nullptr, why, why_size, [&] {
        auto now = common_chat_parse(std::string(text, len), partial, parser->params);
        common_json out = common_json::array();
        for (const auto &diff : common_chat_msg_diff::compute_diffs(parser->before, now)) {
            common_json one = common_json::object();
            if (!diff.reasoning_content_delta.empty())
                one["reasoning"] = diff.reasoning_content_delta;
            if (!diff.content_delta.empty())
                one["content"] = diff.content_delta;
            if (diff.tool_call_index != std::string::npos) {
                one["call"] = (int)diff.tool_call_index;
                if (!diff.tool_call_delta.name.empty())
                    one["name"] = diff.tool_call_delta.name;
                one["arguments"] = diff.tool_call_delta.arguments;
            }
            out.push_back(one);
        }
        parser->before = now;
        return copy_of(out.dump());
    });
}

/* --- grammar ------------------------------------------------------------------------------------------------------------ */

extern "C" struct cds_shim_grammar *cds_shim_grammar_new(const struct llama_vocab *vocab, const char *gbnf, bool lazy, const char *const *patterns,
                                                         size_t pattern_count, const char *prefill, char *why, size_t why_size)
{
    return guarded<cds_shim_grammar *>(nullptr, why, why_size, [&]() -> cds_shim_grammar * {
        auto grammar = std::unique_ptr<cds_shim_grammar, decltype(&cds_shim_grammar_free)>(new cds_shim_grammar, cds_shim_grammar_free);
        std::vector<const char *> list(patterns, patterns + pattern_count);
        grammar->sampler = lazy ? llama_sampler_init_grammar_lazy_patterns(vocab, gbnf, "root", list.data(), list.size(), nullptr, 0)
                                : llama_sampler_init_grammar(vocab, gbnf, "root");
        if (grammar->sampler == nullptr) {
            explain(why, why_size, "libllama does not take this grammar");
            return nullptr;
        }
        if (!lazy && prefill != nullptr && *prefill)
            for (auto token : common_tokenize(vocab, prefill, false, true))
                llama_sampler_accept(grammar->sampler, token);
        return grammar.release();
    });
}

extern "C" struct cds_shim_grammar *cds_shim_grammar_clone(const struct cds_shim_grammar *grammar)
{
    return guarded<cds_shim_grammar *>(nullptr, nullptr, 0, [&]() -> cds_shim_grammar * {
        auto copy = std::unique_ptr<cds_shim_grammar, decltype(&cds_shim_grammar_free)>(new cds_shim_grammar, cds_shim_grammar_free);
        copy->sampler = llama_sampler_clone(grammar->sampler);
        return copy->sampler != nullptr ? copy.release() : nullptr;
    });
}

extern "C" void cds_shim_grammar_free(struct cds_shim_grammar *grammar)
{
    guarded<bool>(false, nullptr, 0, [&] {
        if (grammar != nullptr && grammar->sampler != nullptr)
            llama_sampler_free(grammar->sampler);
        delete grammar;
        return true;
    });
}

extern "C" bool cds_shim_grammar_allows(struct cds_shim_grammar *grammar, int32_t token)
{
    return guarded<bool>(false, nullptr, 0, [&] {
        llama_token_data one = {token, 1.0F, 0.0F};
        llama_token_data_array list = {&one, 1, -1, false};
        llama_sampler_apply(grammar->sampler, &list);
        return one.logit != -INFINITY;
    });
}

extern "C" bool cds_shim_grammar_mask(struct cds_shim_grammar *grammar, struct llama_token_data_array *candidates)
{
    return guarded<bool>(false, nullptr, 0, [&] {
        llama_sampler_apply(grammar->sampler, candidates);
        return true;
    });
}

extern "C" bool cds_shim_grammar_accept(struct cds_shim_grammar *grammar, int32_t token)
{
    return guarded<bool>(false, nullptr, 0, [&] {
        llama_sampler_accept(grammar->sampler, token);
        return true;
    });
}

extern "C" struct llama_sampler *cds_shim_thinking_budget(const struct llama_vocab *vocab, const int32_t *start, size_t start_count,
                                                          const int32_t *end, size_t end_count, int32_t budget, bool begun)
{
    return guarded<llama_sampler *>(nullptr, nullptr, 0, [&] {
        llama_tokens ends(end, end + end_count);
        return common_reasoning_budget_init(vocab, {llama_tokens(start, start + start_count)}, {ends}, ends, budget,
                                            begun ? (budget > 0 ? REASONING_BUDGET_COUNTING : REASONING_BUDGET_FORCING) : REASONING_BUDGET_IDLE);
    });
}
