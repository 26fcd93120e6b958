/* SPDX-License-Identifier: MIT */
/* Tests what TLS connections share (bonxie/tls.h): hosts, keys, the sessions of a client. */
#include "tests/io/tls_parties.h"

/* ---- Hosts ---- */

static void meet_twice(struct parties *parties, const char *host) {
    parties->host = host;
    for (int round = 0; round < 2; round++) {
        meet(parties);
        CHECK_EQ(parties->client_result, 0);
        CHECK_EQ(parties->server_result, 0);
        CHECK_STR(parties->client_info.alpn, "echo");
        CHECK_STR(parties->server_info.alpn, "echo");
        CHECK_EQ(parties->client_info.is_resumed != 0, round == 1);
        part(parties);
    }
}

static int meet_hosts(void *arg) {
    (void)arg;
    const struct bnx_tls_options client = {
        .authorities_file = files.authority, .certificate_file = files.other, .alpn = "h2,echo"};
    const struct bnx_tls_options server = {.authorities_file = files.authority,
                                           .certificate_file = files.server,
                                           .alpn = "echo,other",
                                           .verify = BNX_TLS_VERIFY_PEER};
    struct parties parties;
    parties_make(&parties, &client, &server);
    CHECK_EQ(bnx_tls_server_add(parties.server, "two.test", files.other, NULL), 0);
    meet_twice(&parties, "one.test");
    meet_twice(&parties, "two.test");
    parties_free(&parties);
    return 0;
}

/* Claim: everything but the certificate is the same for each host of a server: protocols, who may
 * connect, sessions. */
TEST(hosts_alike, "tls.hosts_differ_by_certificate_alone") {
    files_make();
    sched_run(1, meet_hosts, NULL);
    sched_run(2, meet_hosts, NULL);
    files_remove();
}

/* Settings of OpenSSL's own for the whole process: no TLS 1.3. */
static void allow_only_tls_1_2(void) {
    static const char text[] = "openssl_conf = all\n[all]\nssl_conf = parts\n[parts]\n"
                               "system_default = limits\n[limits]\nMaxProtocol = TLSv1.2\n";
    char path[80];
    (void)snprintf(path, sizeof(path), "%s.conf", files.folder);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK_EQ(fclose(file), 0);
    CHECK_EQ(CONF_modules_load_file(path, NULL, 0), 1);
    CHECK_EQ(unlink(path), 0);
}

static int resume_old(void *arg) {
    (void)arg;
    struct parties parties;
    parties_make_usual(&parties);
    for (int round = 0; round < 4; round++) {
        meet(&parties);
        CHECK_EQ(parties.client_result, 0);
        CHECK_STR(parties.client_info.protocol, "TLSv1.2");
        CHECK_EQ(parties.client_info.is_resumed != 0, round > 0);
        part(&parties);
    }
    parties_free(&parties);
    return 0;
}

/* Claim: a session of TLS 1.2, which the server renews only now and then, is taken up each time. */
TEST(resume_old, "tls.resumes_1_2_each_time") {
    files_make();
    allow_only_tls_1_2();
    sched_run(1, resume_old, NULL);
    files_remove();
}

#define VISITS 70 /* more than a client remembers sessions; two come with each */

static int visit_often(void *arg) {
    (void)arg;
    struct parties parties;
    parties_make_usual(&parties);
    CHECK_EQ(bnx_tls_server_add(parties.server, "two.test", files.other, NULL), 0);
    parties.host = "two.test";
    meet(&parties);
    part(&parties);
    parties.host = "one.test";
    for (int i = 0; i < VISITS; i++) {
        meet(&parties);
        CHECK_EQ(parties.client_result, 0);
        CHECK_EQ(parties.client_info.is_resumed != 0, i > 0);
        part(&parties);
    }
    parties.host = "two.test";
    meet(&parties);
    CHECK(parties.client_info.is_resumed != 0);
    part(&parties);
    parties_free(&parties);
    return 0;
}

/* Claim: a host that is visited often does not push the sessions of others out. */
TEST(visit_often, "tls.one_host_leaves_room") {
    files_make();
    sched_run(1, visit_often, NULL);
    files_remove();
}

/* ---- Keys ---- */

/* The server's certificate, and its key under a passphrase. */
static void save_locked(char path[80], const char *passphrase) {
    FILE *file = fopen(files.server, "r");
    CHECK(file != NULL);
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    CHECK(certificate != NULL && key != NULL);
    CHECK_EQ(fclose(file), 0);
    (void)snprintf(path, 80, "%.60s/locked", files.folder);
    file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK_EQ(PEM_write_X509(file, certificate), 1);
    CHECK_EQ(PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), (const unsigned char *)passphrase,
                                  (int)strlen(passphrase), NULL, NULL),
             1);
    CHECK_EQ(fclose(file), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* Claim: a key under a passphrase is refused; nobody is asked for it, at the terminal or at the
 * standard input, where it would be found here. */
TEST(locked_key, "tls.asks_for_no_passphrase") {
    char path[80];
    struct bnx_tls *server = NULL;
    int fds[2];
    files_make();
    save_locked(path, "sesame");
    (void)setsid(); /* no terminal that could be asked instead */
    io_pipe(fds);
    CHECK_EQ(write(fds[1], "sesame\n", 7), 7);
    CHECK_EQ(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
    const struct bnx_tls_options options = {.certificate_file = path};
    CHECK_EQ(bnx_tls_server_create(&options, &server), -EINVAL);
    io_close_pair(fds);
    CHECK_EQ(unlink(path), 0);
    files_remove();
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
