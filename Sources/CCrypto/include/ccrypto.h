#ifndef PERSSD_CCRYPTO_H
#define PERSSD_CCRYPTO_H

/* libcrypto's one-shot and streaming SHA-256 and HMAC, random bytes, and certificates. A shim because the EVP interface is partly
 * macros, which Swift can't import. Every function returns 1 for success and 0 for failure, as libcrypto does. */

#include <stddef.h>
#include <stdint.h>

#define CCRYPTO_SHA256_LENGTH 32

typedef struct ccrypto_sha256 ccrypto_sha256;

ccrypto_sha256 *ccrypto_sha256_new(void);
int ccrypto_sha256_update(ccrypto_sha256 *context, const void *bytes, size_t count);
/* Writes the digest and makes the context ready for another message. */
int ccrypto_sha256_finish(ccrypto_sha256 *context, uint8_t digest[CCRYPTO_SHA256_LENGTH]);
void ccrypto_sha256_free(ccrypto_sha256 *context);

int ccrypto_sha256_once(const void *bytes, size_t count, uint8_t digest[CCRYPTO_SHA256_LENGTH]);
int ccrypto_hmac_sha256(const void *key, size_t key_count, const void *bytes, size_t count,
                        uint8_t code[CCRYPTO_SHA256_LENGTH]);
int ccrypto_random(void *bytes, size_t count);

/* A new key on the curve P-256 and a certificate for it, signed with it and good for `seconds` from now, whose alternative
 * name is `name`. Both are PEM, and the caller's to free(3). */
int ccrypto_make_identity(const char *name, long seconds, char **certificate_pem, char **key_pem);

#endif
