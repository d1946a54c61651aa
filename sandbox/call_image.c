/* sandbox/call_image.c: image.*: from parameters to the desk, from there to an answer, and a line in the log for each change. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/image_desk.h"
#include "sandbox/image_pull.h"
#include "sandbox/micro.h"

/* One addition, until it is told. */
struct addition {
    struct client *client; /* counted */
    cds_json *id;
    int64_t call;
    uint64_t began_ms;
    const char *method; /* static */
    char request_id[CDS_UUID_LEN + 1], user[CDS_UUID_LEN + 1], name[IMAGE_NAME_MAX + 1];
};

static const char *text_of(const cds_json *params, const char *key)
{
    const char *text = cds_json_get_str(params, key);
    return text ? text : "";
}

static void log_refused(const char *method, const char *request_id, const char *user, const char *name, const struct cds_err *err)
{
    cds_log(cds_rc_http(err->code) >= 500 && err->code != CDS_BUSY ? CDS_LOG_ERROR : CDS_LOG_INFO, "image call refused",
            CDS_LS("request_id", request_id[0] ? request_id : NULL), CDS_LS("method", method), CDS_LS("user_id", user[0] ? user : NULL),
            CDS_LS("image", name), CDS_LS("end", cds_rc_name(err->code)), CDS_LS("rule", err->rule[0] ? err->rule : NULL),
            CDS_LS("error", err->message), CDS_LS("detail", err->detail[0] ? err->detail : NULL));
}

static void addition_free(struct addition *a)
{
    cds_json_unref(a->id);
    client_unref(a->client);
    free(a);
}

static void on_added(void *user, const struct image *image, const struct cds_err *err)
{
    struct addition *a = user;
    a->client->adding = NULL;
    if (image) {
        cds_log(CDS_LOG_INFO, "an image was added", CDS_LS("request_id", a->request_id[0] ? a->request_id : NULL),
                CDS_LS("user_id", a->user[0] ? a->user : NULL), CDS_LS("image", image->name), CDS_LS("source", image->kind),
                CDS_LS("from", image->from), CDS_LS("digest", image->digest), CDS_LI("bytes", image->size_bytes),
                CDS_LI("took_ms", cds_now_ms() - a->began_ms));
        client_result(a->client, a->id, cds_json_pack("{s:o}", "image", image_json(image, false)));
    } else {
        log_refused(a->method, a->request_id, a->user, a->name, err);
        client_error(a->client, a->id, err);
    }
    addition_free(a);
}

static cds_rc add(struct client *client, const struct cds_rpc_request *request, const struct image_source *source, struct cds_err *err)
{
    struct addition *a = calloc(1, sizeof(*a));
    if (!a) {
        if (source->project_fd >= 0)
            close(source->project_fd);
        return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    client_ref(client);
    *a = (struct addition){.client = client, .id = request->id ? cds_json_ref(request->id) : NULL, .began_ms = cds_now_ms()};
    a->call = cds_json_i64(request->id, 0);
    a->method = source->reference ? "image.pull" : "image.add";
    cds_strcpy(a->request_id, sizeof(a->request_id), text_of(request->params, "request_id"));
    cds_strcpy(a->user, sizeof(a->user), text_of(request->params, "user"));
    cds_strcpy(a->name, sizeof(a->name), source->name);
    cds_rc rc = image_desk_add(client->broker->images, source, on_added, a, err);
    if (rc)
        addition_free(a);
    else
        client->adding = a;
    return rc;
}

/* Of a project; or, for the command line, of this machine: who owns the broker may read what it may. */
static cds_rc call_add(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    const cds_json *path = cds_json_get(request->params, "path"), *host_path = cds_json_get(request->params, "host_path");
    struct image_source source = {.name = text_of(request->params, "name"), .project_fd = -1};
    struct cds_path parsed;
    cds_rc rc = image_name_check(source.name, "/params/name", err);
    if (rc)
        return rc;
    if (host_path) {
        source.host_path = cds_json_str(host_path);
        if (!client->local)
            return cds_fail(err, CDS_DENIED, __func__, "A path of this machine is taken from the command line only.");
        if (!source.host_path || source.host_path[0] != '/' || strlen(source.host_path) > CDS_PATH_MAX)
            return cds_fail(err, CDS_BAD_PARAM, __func__, "The path of the image must be absolute and at most %d bytes long.", CDS_PATH_MAX);
        return add(client, request, &source, err);
    }
    rc = cds_path_parse(cds_json_str(path) ? cds_json_str(path) : "", cds_json_str_len(path), &parsed, err);
    if (rc)
        cds_err_pointer(err, "/params/path");
    else
        rc = broker_project_open(client->broker, cds_json_get_str(request->params, "project"), &source.project_fd, err);
    if (rc)
        return rc;
    source.path = parsed.text;
    return add(client, request, &source, err);
}

static cds_rc call_pull(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    const struct image_source source = {
        .name = text_of(request->params, "name"), .project_fd = -1, .reference = text_of(request->params, "reference")};
    cds_rc rc = image_name_check(source.name, "/params/name", err);
    if (!rc)
        rc = image_reference_check(source.reference, err);
    return rc ? rc : add(client, request, &source, err);
}

static cds_rc call_remove(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    struct image_store *store = image_desk_store(client->broker->images);
    const char *name = text_of(request->params, "name");
    char digest[IMAGE_DIGEST_LEN + 1];
    cds_rc rc = image_name_check(name, "/params/name", err);
    if (rc)
        return rc;
    if (cds_streq(name, IMAGE_DEFAULT)) {
        cds_fail(err, CDS_DENIED, __func__, "The image default came with the studio; it cannot be removed.");
        cds_err_rule(err, "image.default");
        return CDS_DENIED;
    }
    const struct image *image = image_find(store, name);
    cds_strcpy(digest, sizeof(digest), image ? image->digest : "");
    if ((rc = image_remove(store, name, err)))
        return rc;
    struct cds_engine *micro = broker_engine(client->broker, "micro");
    if (micro)
        cds_micro_forget(micro, digest);
    cds_log(CDS_LOG_INFO, "an image was removed", CDS_LS("request_id", cds_json_get_str(request->params, "request_id")),
            CDS_LS("user_id", cds_json_get_str(request->params, "user")), CDS_LS("image", name), CDS_LS("digest", digest));
    client_result(client, request->id, cds_json_pack("{s:s}", "name", name));
    return CDS_OK;
}

/* The one that is there without anybody adding it. NULL: set-up made none. */
static cds_json *default_json(const struct broker *broker)
{
    struct stat st;
    struct image image = {.name = IMAGE_DEFAULT, .kind = "built_in", .languages = (1U << IMAGE_LANGUAGES) - 1};
    char program[512], path[700];
    const char *own = cds_config_str(broker->config, CDS_OPT_MICRO_IMAGE);
    snprintf(path, sizeof(path), "%.500s/../share/micro/root.erofs", cds_program_dir(program, sizeof(program)));
    if (stat(*own ? own : path, &st))
        return NULL;
    image.size_bytes = (uint64_t)st.st_size;
    image.added_ms = (int64_t)st.st_mtim.tv_sec * 1000;
    return image_json(&image, false);
}

static cds_rc call_list(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    const struct image_store *store = image_desk_store(client->broker->images);
    cds_json *list = cds_json_array(), *first = default_json(client->broker);
    /* Only the command line asks for it: where the gateway has our user it is local, too, and a path of this machine is not for every viewer. */
    const bool from = client->local && cds_json_true(cds_json_get(request->params, "from"), false);
    (void)err;
    if (first)
        cds_json_append(list, first);
    for (const struct image *one = store->all; one; one = one->next)
        cds_json_append(list, image_json(one, from));
    client_result(client, request->id, cds_json_pack("{s:o}", "images", list));
    return CDS_OK;
}

void image_call(struct client *client, const struct cds_rpc_request *request)
{
    static const struct {
        const char *name;
        cds_rc (*call)(struct client *client, const struct cds_rpc_request *request, struct cds_err *err);
    } calls[] = {{"image.list", call_list}, {"image.add", call_add}, {"image.pull", call_pull}, {"image.remove", call_remove}};
    struct cds_err err = {0};
    cds_rc rc = CDS_NO_METHOD;
    cds_fail(&err, rc, __func__, "The sandbox has no method %.64s.", request->method);
    for (size_t i = 0; i < CDS_ARRAY_LEN(calls); i++)
        if (cds_streq(calls[i].name, request->method))
            rc = calls[i].call(client, request, &err);
    if (!rc)
        return;
    log_refused(request->method, text_of(request->params, "request_id"), text_of(request->params, "user"), text_of(request->params, "name"), &err);
    client_error(client, request->id, &err);
}

void image_call_cancel(struct client *client, int64_t call)
{
    if (client->adding && client->adding->call == call)
        image_desk_cancel(client->broker->images);
}

/* Its addition is told all the same, to nobody, and logged. */
void image_call_drop_all(struct client *client)
{
    if (client->adding)
        image_desk_cancel(client->broker->images);
}
