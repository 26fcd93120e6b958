/* SPDX-License-Identifier: MIT */
/* What tests of TLS share: certificates made by the process itself, and two ends that meet. */
#ifndef BNX_TESTS_IO_TLS_PARTIES_H
#define BNX_TESTS_IO_TLS_PARTIES_H

#include "tests/io/fixture.h"

#include <bonxie/tls.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* ---- Certificates ---- */

static struct {
    char folder[64];
    char authority[80], server[80], other[80], stranger[80];
} files;

static inline EVP_PKEY *make_key(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    CHECK(key != NULL);
    return key;
}

static inline X509 *make_certificate(EVP_PKEY *key, const char *name, X509 *issuer,
                                     EVP_PKEY *issuer_key) {
    X509 *made = X509_new();
    CHECK(made != NULL);
    X509_set_version(made, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made), issuer == NULL ? 1 : 2);
    X509_gmtime_adj(X509_getm_notBefore(made), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made), 36000);
    X509_set_pubkey(made, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(made, X509_get_subject_name(issuer != NULL ? issuer : made));
    char value[128];
    (void)snprintf(value, sizeof(value), "DNS:%s,IP:192.0.2.2", name);
    int kind = issuer == NULL ? NID_basic_constraints : NID_subject_alt_name;
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, NULL, kind, issuer == NULL ? "critical,CA:TRUE" : value);
    CHECK(extension != NULL);
    CHECK_EQ(X509_add_ext(made, extension, -1), 1);
    X509_EXTENSION_free(extension);
    CHECK(X509_sign(made, issuer_key, EVP_sha256()) > 0);
    return made;
}

static inline void save(char path[80], const char *name, X509 *certificate, EVP_PKEY *key) {
    (void)snprintf(path, 80, "%.60s/%.15s", files.folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK_EQ(PEM_write_X509(file, certificate), 1);
    CHECK_EQ(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    CHECK_EQ(fclose(file), 0);
}

/* An authority, two servers that it vouches for, and a stranger who vouches for himself. */
static inline void files_make(void) {
    (void)snprintf(files.folder, sizeof(files.folder), "/tmp/bonxie-tls-XXXXXX");
    CHECK(mkdtemp(files.folder) != NULL);
    EVP_PKEY *authority_key = make_key();
    X509 *authority = make_certificate(authority_key, "authority", NULL, authority_key);
    save(files.authority, "authority", authority, authority_key);
    EVP_PKEY *key = make_key();
    X509 *server = make_certificate(key, "one.test", authority, authority_key);
    save(files.server, "server", server, key);
    X509 *other = make_certificate(key, "two.test", authority, authority_key);
    save(files.other, "other", other, key);
    X509 *stranger = make_certificate(key, "one.test", NULL, key);
    save(files.stranger, "stranger", stranger, key);
    X509_free(stranger);
    X509_free(other);
    X509_free(server);
    X509_free(authority);
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
}

static inline void files_remove(void) {
    char *const all[] = {files.authority, files.server, files.other, files.stranger};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CHECK_EQ(unlink(all[i]), 0);
    }
    CHECK_EQ(rmdir(files.folder), 0);
}

/* ---- Both ends ---- */

struct parties {
    struct bnx_tls *client, *server;
    const char *host;
    struct bnx_stream_options options; /* of both streams */
    int fds[2];
    int client_result, server_result;
    struct bnx_tls_info client_info, server_info;
    struct bnx_stream *streams[2]; /* the client's, the server's */
};

static inline void parties_make(struct parties *parties, const struct bnx_tls_options *client,
                                const struct bnx_tls_options *server) {
    memset(parties, 0, sizeof(*parties));
    parties->host = "one.test";
    CHECK_EQ(bnx_tls_client_create(client, &parties->client), 0);
    CHECK_EQ(bnx_tls_server_create(server, &parties->server), 0);
}

/* A client that trusts the authority, and a server that it vouches for. */
static inline void parties_make_usual(struct parties *parties) {
    const struct bnx_tls_options client = {.authorities_file = files.authority};
    const struct bnx_tls_options server = {.certificate_file = files.server};
    parties_make(parties, &client, &server);
}

static inline void parties_free(struct parties *parties) {
    bnx_tls_destroy(parties->client);
    bnx_tls_destroy(parties->server);
}

/* A session ticket of TLS 1.3 comes with the first data: one byte each way. */
static inline int serve_one(void *arg) {
    struct parties *parties = arg;
    char byte = 0;
    parties->server_result = bnx_tls_accept(parties->server, parties->fds[1], &parties->options,
                                            &parties->streams[1], &parties->server_info);
    if (parties->server_result != 0) {
        CHECK_EQ(bnx_close(parties->fds[1]), 0);
        return 0;
    }
    ssize_t got = bnx_stream_read(parties->streams[1], &byte, 1);
    if (got == 1) {
        CHECK_EQ(bnx_stream_write(parties->streams[1], &byte, 1), 1);
        CHECK_EQ(bnx_stream_flush(parties->streams[1]), 0);
    }
    return 0;
}

/* Shakes hands; on success a byte goes there and back. */
static inline void meet(struct parties *parties) {
    struct bnx_scope scope;
    char byte = 'a';
    io_unix_pair(parties->fds);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, serve_one, parties), 0);
    parties->client_result =
        bnx_tls_connect(parties->client, parties->fds[0], parties->host, &parties->options,
                        &parties->streams[0], &parties->client_info);
    if (parties->client_result != 0) {
        CHECK_EQ(bnx_close(parties->fds[0]), 0);
    } else {
        /* Either fails where the other end has refused and left: why is there to be read. */
        (void)bnx_stream_write(parties->streams[0], &byte, 1);
        (void)bnx_stream_flush(parties->streams[0]);
        byte = 0;
        ssize_t got = bnx_stream_read(parties->streams[0], &byte, 1);
        CHECK(got != 1 || byte == 'a');
        parties->client_result = got < 0 ? (int)got : 0; /* TLS 1.3: refused only now */
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static inline void part(struct parties *parties) {
    for (int i = 0; i < 2; i++) {
        if (parties->streams[i] != NULL) {
            (void)bnx_stream_close(parties->streams[i]);
            parties->streams[i] = NULL;
        }
    }
}

#endif
