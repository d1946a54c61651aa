#include "apps/llmworker/shim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "chat.h"
#include "common.h"
#include "log.h"

struct cds_shim {
    common_chat_templates_ptr templates;
};

static void explain(char *why, size_t why_size, const char *text)
{
    if (why != nullptr && why_size > 0)
        std::snprintf(why, why_size, "%s", text);
}

extern "C" struct cds_shim *cds_shim_open(const char *chat_template, const char *bos, const char *eos, char *why, size_t why_size)
{
    try {
        /* libllama-common prints its own lines on stderr; ours are JSON, and what matters comes back as a failure. */
        common_log_set_verbosity_thold(-1);
        auto *shim = new cds_shim;
        try {
            shim->templates = common_chat_templates_init(nullptr, chat_template, bos, eos);
        } catch (...) {
            delete shim;
            throw;
        }
        if (!shim->templates) {
            delete shim;
            explain(why, why_size, "the template could not be read");
            return nullptr;
        }
        return shim;
    } catch (const std::exception &failure) {
        explain(why, why_size, failure.what());
    } catch (...) {
        explain(why, why_size, "unknown failure");
    }
    return nullptr;
}

extern "C" void cds_shim_close(struct cds_shim *shim)
{
    try {
        delete shim;
    } catch (...) {
        /* Nothing can be done about a template that does not go away; the process ends soon. */
    }
}

extern "C" char *cds_shim_render(struct cds_shim *shim, const char *messages_json, bool add_bos, bool add_eos, char *why, size_t why_size)
{
    try {
        common_chat_templates_inputs inputs;
        inputs.use_jinja = true;
        inputs.messages = common_chat_msgs_parse_oaicompat(common_json::parse(messages_json));
        inputs.add_generation_prompt = true;
        inputs.add_bos = add_bos;
        inputs.add_eos = add_eos;
        inputs.force_pure_content = true;
        auto rendered = common_chat_templates_apply(shim->templates.get(), inputs);
        char *copy = static_cast<char *>(std::malloc(rendered.prompt.size() + 1));
        if (copy == nullptr) {
            explain(why, why_size, "out of memory");
            return nullptr;
        }
        std::memcpy(copy, rendered.prompt.c_str(), rendered.prompt.size() + 1);
        return copy;
    } catch (const std::exception &failure) {
        explain(why, why_size, failure.what());
    } catch (...) {
        explain(why, why_size, "unknown failure");
    }
    return nullptr;
}
