/* tests/unit/apps/fetch/test_source.c: what an admin types, names of files, and which addresses may be talked to. */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "apps/fetch/source.h"

static void sources_are_taken_apart(void **state)
{
    struct cds_source s;
    struct cds_err err;
    assert_int_equal(cds_source_parse("hf:TheBloke/Tiny-GGUF:Q4_K_M", &s, &err), CDS_OK);
    assert_true(s.hub);
    assert_string_equal(s.repo, "TheBloke/Tiny-GGUF");
    assert_string_equal(s.quant, "Q4_K_M");
    assert_string_equal(s.branch, "main");
    assert_int_equal(cds_source_parse("hf:a/b/sub/x y.gguf#refs/pr/1", &s, &err), CDS_OK);
    assert_string_equal(s.file, "sub/x y.gguf");
    assert_string_equal(s.branch, "refs/pr/1");
    assert_int_equal(cds_source_parse("https://host/dir/m.gguf?sig=1#x", &s, &err), CDS_OK);
    assert_false(s.hub);
    assert_string_equal(s.url, "https://host/dir/m.gguf?sig=1");
}

static void what_is_no_source_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "hf:",
                                      "hf:a",
                                      "hf:a/",
                                      "hf:/b",
                                      "hf:a/b:",
                                      "hf:a/b:q/4",
                                      "hf:a/b#",
                                      "hf:a/b#../x",
                                      "hf:a/../b",
                                      "hf:a/b/../c.gguf",
                                      "hf:a/b/x.bin",
                                      "hf:a/b/x.gguf:q4",
                                      "file:///x.gguf",
                                      "https://h",
                                      "https://h/x",
                                      "https://u@h/x.gguf",
                                      "https://h/ x.gguf",
                                      "x.gguf",
                                      "https://h/\xc3\xa4.gguf"};
    struct cds_source s;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cds_err err = {0};
        if (cds_source_parse(bad[i], &s, &err) != CDS_BAD_PARAM)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_string_equal(err.pointer, "/source");
        assert_true(err.hint[0]);
    }
}

static void parts_of_a_split_model_are_known_by_name(void **state)
{
    unsigned part = 0, parts = 0;
    char name[64];
    assert_true(cds_source_part("m-Q4-00002-of-00005.gguf", &part, &parts));
    assert_int_equal(part, 2);
    assert_int_equal(parts, 5);
    cds_source_part_name("dir/m-Q4-00002-of-00005.gguf", 3, name, sizeof(name));
    assert_string_equal(name, "dir/m-Q4-00003-of-00005.gguf");
    assert_false(cds_source_part("m-00006-of-00005.gguf", &part, &parts));
    assert_false(cds_source_part("m-00000-of-00005.gguf", &part, &parts));
    assert_false(cds_source_part("-00001-of-00005.gguf", &part, &parts));
    assert_false(cds_source_part("m.gguf", &part, &parts));
}

static void a_quantization_is_a_whole_word_of_the_name(void **state)
{
    assert_true(cds_source_has_quant("Model-Q4_K_M.gguf", "q4_k_m"));
    assert_true(cds_source_has_quant("model.q8_0-00001-of-00002.gguf", "Q8_0"));
    assert_false(cds_source_has_quant("Model-IQ4_K_M.gguf", "q4_k_m"));
    assert_false(cds_source_has_quant("Model-Q4_K_M.gguf", "q4_k"));
    assert_false(cds_source_has_quant("Model.gguf", ""));
}

static bool allowed(const char *hosts, const char *scheme, const char *host, unsigned port, bool *inside)
{
    struct cds_host_rules rules = {.hosts = hosts, .hub = "https://hub.example"};
    return cds_host_allowed(&rules, scheme, host, port, inside);
}

static void a_host_is_allowed_by_name_or_as_a_whole_origin(void **state)
{
    bool inside;
    const char *hosts = "a.example, *.b.example,http://10.0.0.7:8080";
    assert_true(allowed(hosts, "https", "hub.example", 443, &inside));
    assert_false(inside);
    assert_true(allowed(hosts, "https", "a.example", 443, &inside));
    assert_true(allowed(hosts, "https", "x.b.example", 443, &inside));
    assert_false(inside);
    assert_true(allowed(hosts, "http", "10.0.0.7", 8080, &inside));
    assert_true(inside);
    assert_false(allowed(hosts, "http", "a.example", 80, &inside));
    assert_false(allowed(hosts, "https", "a.example", 8443, &inside));
    assert_false(allowed(hosts, "https", "b.example", 443, &inside));
    assert_false(allowed(hosts, "https", "evilb.example", 443, &inside));
    assert_false(allowed(hosts, "https", "a.example.evil", 443, &inside));
    assert_false(allowed(hosts, "http", "10.0.0.7", 80, &inside));
    assert_false(allowed(hosts, "https", "10.0.0.7", 8080, &inside));
    assert_false(allowed("", "https", "", 443, &inside));
}

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return cds_address_public((struct sockaddr *)(void *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return cds_address_public((struct sockaddr *)(void *)&v6);
}

static void addresses_of_this_machine_and_its_networks_are_not_public(void **state)
{
    static const char *const inside[] = {"127.0.0.1",
                                         "0.0.0.0",
                                         "10.1.2.3",
                                         "172.16.0.1",
                                         "172.31.255.255",
                                         "192.168.1.1",
                                         "169.254.169.254",
                                         "100.64.0.1",
                                         "224.0.0.1",
                                         "255.255.255.255",
                                         "198.18.0.1",
                                         "::1",
                                         "::",
                                         "fe80::1",
                                         "fc00::1",
                                         "fd12::1",
                                         "ff02::1",
                                         "::ffff:127.0.0.1",
                                         "::ffff:10.0.0.1",
                                         "64:ff9b::a00:1",
                                         "2002:a00:1::1",
                                         "2001:db8::1",
                                         "::127.0.0.1"};
    static const char *const outside[] = {"1.1.1.1",         "172.32.0.1",     "100.128.0.1",     "223.255.255.254",
                                          "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"};
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++)
        if (is_public(inside[i]))
            fail_msg("%s counts as public", inside[i]);
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        if (!is_public(outside[i]))
            fail_msg("%s does not count as public", outside[i]);
    struct sockaddr unix_address = {.sa_family = AF_UNIX};
    assert_false(cds_address_public(&unix_address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_are_taken_apart),
        cmocka_unit_test(what_is_no_source_is_refused),
        cmocka_unit_test(parts_of_a_split_model_are_known_by_name),
        cmocka_unit_test(a_quantization_is_a_whole_word_of_the_name),
        cmocka_unit_test(a_host_is_allowed_by_name_or_as_a_whole_origin),
        cmocka_unit_test(addresses_of_this_machine_and_its_networks_are_not_public),
    };
    return RUN_ALL(tests);
}
