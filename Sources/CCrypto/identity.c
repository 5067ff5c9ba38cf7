#include "ccrypto.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Positive, and 16 bytes at the most (RFC 5280, section 4.1.2.2). */
static int set_serial_number(X509 *certificate) {
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1) return 0;
    bytes[0] = (bytes[0] & 0x7F) | 0x40;
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    int done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return done;
}

static int add_extension(X509 *certificate, int kind, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    int done = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

static int fill(X509 *certificate, EVP_PKEY *key, const char *name, long seconds) {
    char alternative[300];
    int length = snprintf(alternative, sizeof alternative, "DNS:%s", name);
    if (length < 0 || (size_t)length >= sizeof alternative) return 0;
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial_number(certificate) &&
           /* The clocks of the two sides may be hours apart, and who may speak to whom is decided elsewhere. */
           ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate), "20000101000000Z") &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), seconds) &&
           X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"PerSSD", -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, subject) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(certificate, NID_subject_alt_name, alternative) &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

static char *text(BIO *source) {
    char *bytes = NULL;
    long count = BIO_get_mem_data(source, &bytes);
    char *result = count > 0 ? malloc((size_t)count + 1) : NULL;
    if (result) {
        memcpy(result, bytes, (size_t)count);
        result[count] = 0;
    }
    return result;
}

int ccrypto_make_identity(const char *name, long seconds, char **certificate_pem, char **key_pem) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    BIO *certificate_text = BIO_new(BIO_s_mem());
    BIO *key_text = BIO_new(BIO_s_secmem());
    *certificate_pem = *key_pem = NULL;
    if (key && certificate && certificate_text && key_text && fill(certificate, key, name, seconds) &&
        PEM_write_bio_X509(certificate_text, certificate) == 1 &&
        PEM_write_bio_PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) == 1) {
        *certificate_pem = text(certificate_text);
        *key_pem = text(key_text);
    }
    EVP_PKEY_free(key);
    X509_free(certificate);
    BIO_free(certificate_text);
    BIO_free(key_text);
    if (*certificate_pem && *key_pem) return 1;
    free(*certificate_pem);
    free(*key_pem);
    *certificate_pem = *key_pem = NULL;
    return 0;
}
