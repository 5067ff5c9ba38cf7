// TLS on both sides, from PEM in memory.

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "internal.hpp"

namespace perssd {

std::shared_ptr<grpc::ServerCredentials> server_credentials(const cgrpc_tls *tls) {
    if (tls == nullptr) return grpc::InsecureServerCredentials();
    // "Don't verify" is about who signed the certificate. That the client has its key, TLS itself makes sure of.
    grpc::SslServerCredentialsOptions options(
        tls->any_client          ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_BUT_DONT_VERIFY
        : tls->roots.count == 0 ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = text(tls->roots);
    options.pem_key_cert_pairs.push_back({text(tls->private_key), text(tls->certificate_chain)});
    return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const cgrpc_tls *tls) {
    if (tls == nullptr) return grpc::InsecureChannelCredentials();
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = text(tls->roots);
    options.pem_cert_chain = text(tls->certificate_chain);
    options.pem_private_key = text(tls->private_key);
    return grpc::SslCredentials(options);
}

}  // namespace perssd

namespace {

template <typename Object, void (*release)(Object *)>
struct Release {
    void operator()(Object *object) const { release(object); }
};
using Certificate = std::unique_ptr<X509, Release<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Release<EVP_PKEY, EVP_PKEY_free>>;
using Reader = std::unique_ptr<BIO, Release<BIO, BIO_free_all>>;

Reader reader(cgrpc_bytes pem) { return Reader(BIO_new_mem_buf(pem.bytes, static_cast<int>(pem.count))); }

/// The first certificate, if all that are there can be read.
Certificate first_certificate(cgrpc_bytes pem) {
    Reader source = reader(pem);
    Certificate first(source ? PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr) : nullptr);
    while (first) {
        if (Certificate next{PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr)}) continue;
        // The end of the text is told as the lack of a further beginning.
        if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) first.reset();
        break;
    }
    return first;
}

// Without it, OpenSSL asks for a passphrase on the terminal.
int no_passphrase(char *, int, int, void *) { return -1; }

const char *problem(const cgrpc_tls &tls) {
    if (tls.roots.count != 0 && !first_certificate(tls.roots)) return "the roots are not certificates in PEM";
    if (tls.certificate_chain.count == 0 && tls.private_key.count == 0) return nullptr;
    Certificate certificate = first_certificate(tls.certificate_chain);
    if (!certificate) return "the certificate chain is not certificates in PEM";
    Reader source = reader(tls.private_key);
    Key key(source ? PEM_read_bio_PrivateKey(source.get(), nullptr, no_passphrase, nullptr) : nullptr);
    if (!key) return "the private key is not a key in PEM without a passphrase";
    if (X509_check_private_key(certificate.get(), key.get()) != 1)
        return "the private key does not belong to the first certificate of the chain";
    return nullptr;
}

}  // namespace

const char *cgrpc_tls_problem(const cgrpc_tls *tls) {
    const char *result = problem(*tls);
    ERR_clear_error();
    return result;
}
