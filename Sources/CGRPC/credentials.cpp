// TLS on both sides, from PEM in memory.

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include "internal.hpp"

namespace perssd {

std::shared_ptr<grpc::ServerCredentials> server_credentials(const cgrpc_tls *tls) {
    if (tls == nullptr) return grpc::InsecureServerCredentials();
    grpc::SslServerCredentialsOptions options(
        tls->roots.count == 0 ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
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
