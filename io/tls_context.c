/* SPDX-License-Identifier: MIT */
/*
 * What all connections of a TLS client or server share: settings, certificates, sessions.
 *
 * Ordering
 *   F1 references: fetch_sub acq_rel; whoever takes the last sees what all others did before
 *      theirs, and frees.
 */
#include "io/tls_pvt.h"

#include "runtime/atomic.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

int bnx_tls_error(char *out_reason, size_t bytes) {
    unsigned long code = ERR_peek_error();
    if (out_reason != NULL) {
        const char *text = ERR_reason_error_string(code);
        (void)snprintf(out_reason, bytes, "%s", text != NULL ? text : "");
    }
    int reason = ERR_GET_REASON(code);
    bool is_system = ERR_SYSTEM_ERROR(code);
    ERR_clear_error();
    if (is_system) {
        return reason != 0 ? -reason : -EIO;
    }
    if (reason == ERR_R_MALLOC_FAILURE) {
        return -ENOMEM;
    }
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return -EACCES;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return -ECONNRESET;
    default:
        return -EPROTO;
    }
}

/* ---- Sessions of a client ---- */

static bool is_of(const struct bnx_tls_session *kept, const char *host) {
    return kept->session != NULL && strcmp(kept->host, host) == 0;
}

/* A ticket of TLS 1.3 is for one use and leaves the table; before that a server seldom gives a new
 * one. */
SSL_SESSION *bnx_tls_session_take(struct bnx_tls *tls, const char *host) {
    SSL_SESSION *session = NULL;
    (void)pthread_mutex_lock(&tls->lock);
    for (unsigned i = 0; i < BNX_TLS_SESSIONS && session == NULL; i++) {
        struct bnx_tls_session *kept = &tls->sessions[i];
        if (!is_of(kept, host)) {
            continue;
        }
        if (SSL_SESSION_get_protocol_version(kept->session) >= TLS1_3_VERSION) {
            session = kept->session;
            kept->session = NULL;
        } else if (SSL_SESSION_up_ref(kept->session) == 1) {
            session = kept->session;
        }
    }
    (void)pthread_mutex_unlock(&tls->lock);
    return session;
}

/* The place of a new one: a free one, else the oldest's; of a host that has its share already, its
 * own oldest's. Under the lock. */
static struct bnx_tls_session *choose_place(struct bnx_tls *tls, const char *host) {
    struct bnx_tls_session *oldest = &tls->sessions[0];
    struct bnx_tls_session *oldest_of_host = NULL;
    unsigned count = 0;
    for (unsigned i = 0; i < BNX_TLS_SESSIONS; i++) {
        struct bnx_tls_session *kept = &tls->sessions[i];
        uint64_t age = kept->session != NULL ? kept->number : 0;
        if (oldest->session != NULL && age < oldest->number) {
            oldest = kept;
        }
        if (is_of(kept, host)) {
            count++;
            if (oldest_of_host == NULL || age < oldest_of_host->number) {
                oldest_of_host = kept;
            }
        }
    }
    return count >= BNX_TLS_SESSIONS_OF_HOST ? oldest_of_host : oldest;
}

void bnx_tls_session_keep(struct bnx_tls *tls, const char *host, SSL_SESSION *session) {
    (void)pthread_mutex_lock(&tls->lock);
    struct bnx_tls_session *kept = choose_place(tls, host);
    SSL_SESSION *replaced = kept->session;
    kept->session = session;
    kept->number = ++tls->session_count;
    (void)snprintf(kept->host, sizeof(kept->host), "%s", host);
    (void)pthread_mutex_unlock(&tls->lock);
    SSL_SESSION_free(replaced); /* NULL is fine */
}

/* ---- OpenSSL's callbacks ---- */

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_bytes,
                       const unsigned char *offered, unsigned offered_bytes, void *arg) {
    const struct bnx_tls *tls = arg;
    unsigned char *chosen = NULL;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_bytes, tls->alpn, tls->alpn_bytes, offered,
                              offered_bytes) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int choose_host(SSL *ssl, int *alert, void *arg) {
    const struct bnx_tls *tls = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    for (struct bnx_tls_host *host = tls->hosts; name != NULL && host != NULL; host = host->next) {
        if (strcasecmp(host->name, name) == 0) {
            (void)SSL_set_SSL_CTX(ssl, host->context);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_OK; /* the first */
}

/* ---- Creating ---- */

/* "h2,http/1.1" as lengths and names. */
static int parse_alpn(struct bnx_tls *tls, const char *text) {
    size_t bytes = strlen(text);
    tls->alpn = malloc(bytes + 1);
    if (tls->alpn == NULL) {
        return -ENOMEM;
    }
    for (const char *at = text;; at++) { /* ends with the text */
        size_t length = strcspn(at, ",");
        if (length == 0 || length >= sizeof(((struct bnx_tls_info *)0)->alpn)) {
            return -EINVAL;
        }
        tls->alpn[tls->alpn_bytes++] = (unsigned char)length;
        memcpy(tls->alpn + tls->alpn_bytes, at, length);
        tls->alpn_bytes += (unsigned)length;
        at += length;
        if (*at == '\0') {
            return 0;
        }
    }
}

/* OpenSSL's complaint about a file, unless the file itself says what is wrong. */
static int file_error(const char *path) {
    int error = access(path, R_OK) != 0 ? -errno : -EINVAL;
    ERR_clear_error();
    return error;
}

/* OpenSSL's own would ask at the terminal, and wait. */
static int refuse_passphrase(char *out, int bytes, int is_for_writing, void *arg) {
    (void)out;
    (void)bytes;
    (void)is_for_writing;
    (void)arg;
    return -1;
}

static int load_certificate(SSL_CTX *context, const char *certificate, const char *key) {
    SSL_CTX_set_default_passwd_cb(context, refuse_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        return file_error(certificate);
    }
    const char *path = key != NULL ? key : certificate;
    if (SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        return file_error(path);
    }
    return 0;
}

static void configure(SSL_CTX *context, const struct bnx_tls_options *options) {
    (void)SSL_CTX_set_min_proto_version(context,
                                        options->no_tls_1_2 ? TLS1_3_VERSION : TLS1_2_VERSION);
    /* A renegotiation would have a write wait for a read; idle connections shall be small. */
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS);
}

static int set_trust(struct bnx_tls *tls, const struct bnx_tls_options *options) {
    bool verifies = tls->is_server ? options->verify == BNX_TLS_VERIFY_PEER
                                   : options->verify != BNX_TLS_VERIFY_NONE;
    int mode = SSL_VERIFY_PEER | (tls->is_server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(tls->context, verifies ? mode : SSL_VERIFY_NONE, NULL);
    const char *path = options->authorities_file;
    if (path != NULL) {
        return SSL_CTX_load_verify_file(tls->context, path) == 1 ? 0 : file_error(path);
    }
    if (verifies) { /* the system's are many to read, where nobody would look */
        (void)SSL_CTX_set_default_verify_paths(tls->context); /* none there: nobody is trusted */
    }
    return 0;
}

static int on_new_session(SSL *ssl, SSL_SESSION *session) {
    bnx_tls_session_keep(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)), bnx_tls_host_of(ssl), session);
    return 1; /* its reference is ours */
}

/* What OpenSSL looks for in a server's context after choose_host, so each host's has it. */
static void set_server(const struct bnx_tls *tls, SSL_CTX *context) {
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"bonxie", 6);
    if (tls->alpn != NULL) {
        SSL_CTX_set_alpn_select_cb(context, choose_alpn, (void *)(uintptr_t)tls);
    }
}

static int set_up(struct bnx_tls *tls, const struct bnx_tls_options *options) {
    tls->context = SSL_CTX_new(tls->is_server ? TLS_server_method() : TLS_client_method());
    if (tls->context == NULL) {
        return -ENOMEM;
    }
    SSL_CTX_set_app_data(tls->context, tls);
    configure(tls->context, options);
    int error = set_trust(tls, options);
    if (error == 0 && options->certificate_file != NULL) {
        error = load_certificate(tls->context, options->certificate_file, options->key_file);
    } else if (error == 0 && tls->is_server) {
        error = -EINVAL;
    }
    if (error == 0 && options->alpn != NULL) {
        error = parse_alpn(tls, options->alpn);
    }
    if (error != 0) {
        return error;
    }
    if (tls->is_server) {
        SSL_CTX_set_tlsext_servername_callback(tls->context, choose_host);
        SSL_CTX_set_tlsext_servername_arg(tls->context, tls);
        set_server(tls, tls->context);
    } else {
        SSL_CTX_set_session_cache_mode(tls->context,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(tls->context, on_new_session);
        if (tls->alpn != NULL && /* 0 is success here */
            SSL_CTX_set_alpn_protos(tls->context, tls->alpn, tls->alpn_bytes) != 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int create(const struct bnx_tls_options *options, bool is_server, struct bnx_tls **out_tls) {
    static const struct bnx_tls_options defaults;
    struct bnx_tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL) {
        return -ENOMEM;
    }
    tls->is_server = is_server;
    tls->references = 1;
    (void)pthread_mutex_init(&tls->lock, NULL); /* cannot fail without attributes */
    int error = set_up(tls, options != NULL ? options : &defaults);
    ERR_clear_error();
    if (error != 0) {
        bnx_tls_unref(tls);
        return error;
    }
    *out_tls = tls;
    return 0;
}

int bnx_tls_client_create(const struct bnx_tls_options *options, struct bnx_tls **out_tls) {
    return create(options, false, out_tls);
}

int bnx_tls_server_create(const struct bnx_tls_options *options, struct bnx_tls **out_tls) {
    return create(options, true, out_tls);
}

int bnx_tls_server_add(struct bnx_tls *server, const char *host, const char *certificate_file,
                       const char *key_file) {
    if (!server->is_server || host == NULL || certificate_file == NULL) {
        return -EINVAL;
    }
    size_t bytes = strlen(host) + 1;
    struct bnx_tls_host *added = malloc(sizeof(*added) + bytes);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (added == NULL || context == NULL) {
        free(added);
        SSL_CTX_free(context);
        return -ENOMEM;
    }
    /* Modes, versions and tickets stay those of the first one's. */
    set_server(server, context);
    SSL_CTX_set1_cert_store(context, SSL_CTX_get_cert_store(server->context));
    int error = load_certificate(context, certificate_file, key_file);
    if (error != 0) {
        free(added);
        SSL_CTX_free(context);
        return error;
    }
    memcpy(added->name, host, bytes);
    added->context = context;
    added->next = server->hosts;
    server->hosts = added;
    return 0;
}

/* ---- References ---- */

void bnx_tls_ref(struct bnx_tls *tls) {
    (void)bnx_fetch_add_relaxed(&tls->references, 1); /* the caller has one */
}

void bnx_tls_unref(struct bnx_tls *tls) {
    if (bnx_fetch_sub_acq_rel(&tls->references, 1) != 1) { /* F1 */
        return;
    }
    for (unsigned i = 0; i < BNX_TLS_SESSIONS; i++) {
        SSL_SESSION_free(tls->sessions[i].session);
    }
    while (tls->hosts != NULL) { /* ends: one fewer each round */
        struct bnx_tls_host *host = tls->hosts;
        tls->hosts = host->next;
        SSL_CTX_free(host->context);
        free(host);
    }
    SSL_CTX_free(tls->context);
    (void)pthread_mutex_destroy(&tls->lock);
    free(tls->alpn);
    free(tls);
}

void bnx_tls_destroy(struct bnx_tls *tls) {
    if (tls != NULL) {
        bnx_tls_unref(tls);
    }
}
