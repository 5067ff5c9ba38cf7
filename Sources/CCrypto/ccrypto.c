#include "ccrypto.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

/* An EVP_MD_CTX by another name: the struct is never defined, so nobody can look inside. */

ccrypto_sha256 *ccrypto_sha256_new(void) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        context = NULL;
    }
    return (ccrypto_sha256 *)context;
}

int ccrypto_sha256_update(ccrypto_sha256 *context, const void *bytes, size_t count) {
    return EVP_DigestUpdate((EVP_MD_CTX *)context, bytes, count);
}

int ccrypto_sha256_finish(ccrypto_sha256 *context, uint8_t digest[CCRYPTO_SHA256_LENGTH]) {
    return EVP_DigestFinal_ex((EVP_MD_CTX *)context, digest, NULL) == 1 &&
           EVP_DigestInit_ex((EVP_MD_CTX *)context, NULL, NULL) == 1;
}

void ccrypto_sha256_free(ccrypto_sha256 *context) { EVP_MD_CTX_free((EVP_MD_CTX *)context); }

int ccrypto_sha256_once(const void *bytes, size_t count, uint8_t digest[CCRYPTO_SHA256_LENGTH]) {
    return SHA256(bytes, count, digest) != NULL;
}

int ccrypto_hmac_sha256(const void *key, size_t key_count, const void *bytes, size_t count,
                        uint8_t code[CCRYPTO_SHA256_LENGTH]) {
    unsigned int written = 0;
    if (key_count > INT_MAX) return 0;
    return HMAC(EVP_sha256(), key, (int)key_count, bytes, count, code, &written) != NULL &&
           written == CCRYPTO_SHA256_LENGTH;
}

int ccrypto_random(void *bytes, size_t count) {
    if (count > INT_MAX) return 0;
    return RAND_bytes(bytes, (int)count) == 1;
}
