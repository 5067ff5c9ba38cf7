// The server: one generic service, one reactor for each call.

#include <grpc/grpc_security_constants.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "handover.hpp"
#include "internal.hpp"

struct cgrpc_server_call final : public grpc::ServerGenericBidiReactor {
  public:
    cgrpc_server_call(const cgrpc_server_callbacks &callbacks, grpc::GenericCallbackServerContext *context)
        : callbacks(callbacks), context(context) {}

    /// Apart from the constructor, because reactions may be called as soon as an operation is started.
    void announce(void *server_context) {
        const std::string peer = context->peer();
        std::vector<cgrpc_entry> entries;
        entries.reserve(context->client_metadata().size());
        for (const auto &[key, value] : context->client_metadata())
            entries.push_back({perssd::view(key), perssd::view(value)});
        cgrpc_call_info info{};
        info.path = perssd::view(context->method());
        info.peer = perssd::view(peer);
        const std::shared_ptr<const grpc::AuthContext> identity = context->auth_context();
        const std::vector<grpc::string_ref> certificates =
            identity ? identity->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME) : std::vector<grpc::string_ref>{};
        if (!certificates.empty()) info.peer_certificate = perssd::view(certificates.front());
        info.remaining_ns = perssd::until(context->raw_deadline());
        info.metadata = entries.data();
        info.metadata_count = entries.size();
        call_context = callbacks.on_call(server_context, this, &info);
        perssd::hand_over(this);
    }

    void OnReadDone(bool ok) override {
        perssd::Callback scope(this);
        callbacks.on_read(call_context, ok ? perssd::message(incoming) : nullptr);
    }

    void OnWriteDone(bool ok) override {
        perssd::Callback scope(this);
        callbacks.on_write(call_context, ok);
    }

    void OnCancel() override {
        perssd::Callback scope(this);
        callbacks.on_cancel(call_context);
    }

    void OnDone() override {
        perssd::take_over(this);
        callbacks.on_done(call_context);
        delete this;
    }

    const cgrpc_server_callbacks &callbacks;
    grpc::GenericCallbackServerContext *context;
    void *call_context = nullptr;
    grpc::ByteBuffer incoming;
    grpc::ByteBuffer outgoing;
};

struct cgrpc_server final : public grpc::CallbackGenericService {
  public:
    cgrpc_server(const cgrpc_server_callbacks &callbacks, void *context) : callbacks(callbacks), context(context) {}

    grpc::ServerGenericBidiReactor *CreateReactor(grpc::GenericCallbackServerContext *call_context) override {
        auto *call = new cgrpc_server_call(callbacks, call_context);
        call->announce(context);
        return call;
    }

    cgrpc_server_callbacks callbacks;
    void *context;
    // Destroyed before the service that it calls.
    std::unique_ptr<grpc::Server> server;
};

cgrpc_server *cgrpc_server_start(
    const cgrpc_server_options *options, cgrpc_listener *listeners, size_t listener_count,
    const cgrpc_server_callbacks *callbacks, void *server_context) {
    try {
        perssd::quiet_log();
        auto result = std::make_unique<cgrpc_server>(*callbacks, server_context);
        grpc::ServerBuilder builder;
        builder.RegisterCallbackGenericService(result.get());
        builder.SetMaxReceiveMessageSize(options->max_receive_bytes);
        builder.SetMaxSendMessageSize(options->max_send_bytes);
        // Two servers on one port would each get some of the calls; the second has to fail instead.
        builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
        builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options->max_streams_per_connection);
        builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, options->handshake_timeout_ms);
        builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, options->keepalive_time_ms);
        builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options->keepalive_timeout_ms);
        builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
        builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
        // Clients of ours probe a silent connection every half minute; by default that is an offence.
        builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
        std::vector<int> ports(listener_count, 0);
        for (size_t i = 0; i < listener_count; ++i)
            builder.AddListeningPort(
                listeners[i].address, perssd::server_credentials(listeners[i].tls), &ports[i]);
        result->server = builder.BuildAndStart();
        if (!result->server) return nullptr;
        for (size_t i = 0; i < listener_count; ++i) listeners[i].bound_port = ports[i];
        return result.release();
    } catch (...) {
        return nullptr;
    }
}

void cgrpc_server_shutdown(cgrpc_server *server, int64_t grace_ns) {
    try {
        server->server->Shutdown(perssd::after(grace_ns));
    } catch (...) {
        perssd::out_of_memory("cgrpc_server_shutdown");
    }
}

void cgrpc_server_destroy(cgrpc_server *server) { delete server; }

void cgrpc_server_call_read(cgrpc_server_call *call) {
    call->incoming.Clear();
    perssd::hand_over(call);
    call->StartRead(&call->incoming);
}

void cgrpc_server_call_write(cgrpc_server_call *call, cgrpc_bytes message) {
    try {
        call->outgoing = perssd::buffer(message);
        perssd::hand_over(call);
        call->StartWrite(&call->outgoing);
    } catch (...) {
        perssd::out_of_memory("cgrpc_server_call_write");
    }
}

void cgrpc_server_call_finish(cgrpc_server_call *call, const cgrpc_bytes *last, const cgrpc_status *status) {
    try {
        grpc::Status outcome(
            static_cast<grpc::StatusCode>(status->code), perssd::text(status->message), perssd::text(status->details));
        if (last != nullptr) call->outgoing = perssd::buffer(*last);
        perssd::hand_over(call);
        if (last != nullptr) {
            call->StartWriteAndFinish(&call->outgoing, grpc::WriteOptions(), std::move(outcome));
        } else {
            call->Finish(std::move(outcome));
        }
    } catch (...) {
        perssd::out_of_memory("cgrpc_server_call_finish");
    }
}
