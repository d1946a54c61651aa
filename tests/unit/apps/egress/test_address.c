/* Addresses that a job never reaches, in every way they can be written. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "apps/egress/address.h"
#include "tests/support/test.h"

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage a = {.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET};
    void *to =
        a.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)(void *)&a)->sin6_addr : (void *)&((struct sockaddr_in *)(void *)&a)->sin_addr;
    assert_int_equal(inet_pton(a.ss_family, text, to), 1);
    return a;
}

static bool is_public(const char *text)
{
    const struct sockaddr_storage a = address_of(text);
    return egress_address_public((const struct sockaddr *)&a);
}

static void what_is_not_of_the_public_internet_is_closed(void **state)
{
    static const char *const closed[] = {
        "0.0.0.0",     "0.1.2.3",         "10.0.0.1",        "10.255.255.255",  "100.64.0.1",       "100.100.100.200", "100.127.255.255",
        "127.0.0.1",   "127.255.255.254", "169.254.169.254", "169.254.0.1",     "172.16.0.1",       "172.31.255.255",  "192.0.0.192",
        "192.0.2.1",   "192.88.99.1",     "192.168.0.1",     "192.168.255.255", "198.18.0.1",       "198.19.255.255",  "198.51.100.1",
        "203.0.113.1", "224.0.0.1",       "239.255.255.255", "240.0.0.1",       "255.255.255.255",  "168.63.129.16",   "::",
        "::1",         "::ffff:8.8.8.8",  "::ffff:10.0.0.1", "::8.8.8.8",       "64:ff9b::808:808", "64:ff9b:1::1",    "100::1",
        "fe80::1",     "fec0::1",         "fc00::1",         "fd00:ec2::254",   "ff02::1",          "2001::1",         "2001:0:53aa:64c::",
        "2001:db8::1", "2001:10::1",      "2001:1ff::1",     "2002:a00:1::1",   "2002:808:808::1",  "3fff::1",         "4000::1",
        "1fff::1",
    };
    static const char *const open[] = {"1.1.1.1",         "8.8.8.8",         "9.255.255.255", "11.0.0.0",        "100.63.255.255",
                                       "100.128.0.0",     "126.255.255.255", "128.0.0.1",     "169.253.255.255", "172.15.255.255",
                                       "172.32.0.0",      "192.167.255.255", "198.17.0.1",    "198.20.0.1",      "223.255.255.255",
                                       "2606:4700::1111", "2a00:1450::1",    "2001:200::1",   "2003::1"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(closed); i++)
        if (is_public(closed[i]))
            fail_msg("%s is taken for public", closed[i]);
    for (size_t i = 0; i < CDS_ARRAY_LEN(open); i++)
        if (!is_public(open[i]))
            fail_msg("%s is not taken for public", open[i]);
    const struct sockaddr unix_address = {.sa_family = AF_UNIX};
    assert_false(egress_address_public(&unix_address));
}

static void ranges_are_named_exactly(void **state)
{
    struct egress_range ranges[EGRESS_RANGES_MAX];
    struct cds_err err;
    size_t count;
    assert_int_equal(egress_ranges_parse("10.1.2.3, 192.168.4.0/22 fd00:1::/64", ranges, &count, &err), CDS_OK);
    assert_int_equal(count, 3);
    static const struct {
        const char *text;
        bool named;
    } cases[] = {{"10.1.2.3", true},       {"10.1.2.4", false}, {"192.168.4.0", true},    {"192.168.7.255", true},   {"192.168.8.0", false},
                 {"192.168.3.255", false}, {"fd00:1::9", true}, {"fd00:1:0:1::9", false}, {"::ffff:10.1.2.3", false}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(cases); i++) {
        const struct sockaddr_storage a = address_of(cases[i].text);
        if (egress_address_named(ranges, count, (const struct sockaddr *)&a) != cases[i].named)
            fail_msg("%s", cases[i].text);
    }
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0.0/",   "10.0.0/8",    "x",          "fd00::/129",
                                      "0.0.0.0/0",   "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.1/ 8"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++)
        if (egress_ranges_parse(bad[i], ranges, &count, &err) != CDS_BAD_PARAM)
            fail_msg("%s was taken", bad[i]);
}

static void the_machines_own_addresses_are_known(void **state)
{
    const struct sockaddr_storage own = address_of("127.0.0.1"), other = address_of("192.0.2.77");
    assert_true(egress_address_own((const struct sockaddr *)&own));
    assert_false(egress_address_own((const struct sockaddr *)&other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_of_the_public_internet_is_closed),
        cmocka_unit_test(ranges_are_named_exactly),
        cmocka_unit_test(the_machines_own_addresses_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
