// A client's call. It is two reactors of which one is used: gRPC serves a unary call with fewer steps.

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include "channel.hpp"
#include "handover.hpp"

namespace {

void report(const cgrpc_client_callbacks &callbacks, void *context, const grpc::Status &status) {
    // gRPC's status lives on its own thread's stack for as long as this lasts.
    const std::string message = status.error_message();
    const std::string details = status.error_details();
    cgrpc_status outcome{status.error_code(), perssd::view(message), perssd::view(details)};
    callbacks.on_done(context, &outcome);
}

}  // namespace

// Once `on_done` is called the call may be destroyed at any moment: nothing of it is touched after.
struct cgrpc_call {
    struct Unary final : public grpc::ClientUnaryReactor {
        explicit Unary(cgrpc_call &call) : call(call) {}

        void OnDone(const grpc::Status &status) override {
            perssd::take_over(this);
            if (status.ok())
                call.callbacks.on_read(
                    call.call_context, call.incoming.Valid() ? perssd::message(call.incoming) : nullptr);
            report(call.callbacks, call.call_context, status);
        }

        cgrpc_call &call;
    };

    struct Stream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
        explicit Stream(cgrpc_call &call) : call(call) {}

        void OnReadDone(bool ok) override {
            perssd::Callback scope(this);
            call.callbacks.on_read(call.call_context, ok ? perssd::message(call.incoming) : nullptr);
        }
        void OnWriteDone(bool ok) override {
            perssd::Callback scope(this);
            call.callbacks.on_write(call.call_context, ok);
        }
        void OnWritesDoneDone(bool ok) override {
            perssd::Callback scope(this);
            call.callbacks.on_write(call.call_context, ok);
        }
        void OnDone(const grpc::Status &status) override {
            perssd::take_over(this);
            report(call.callbacks, call.call_context, status);
        }

        cgrpc_call &call;
    };

    cgrpc_call(
        cgrpc_channel &channel, const cgrpc_call_options &options, const cgrpc_client_callbacks &callbacks)
        : stub(channel.stub),
          path(perssd::text(options.path)),
          callbacks(callbacks),
          unary(*this),
          stream(*this) {
        if (options.timeout_ns != CGRPC_NO_DEADLINE) context.set_deadline(perssd::after(options.timeout_ns));
        context.set_wait_for_ready(options.wait_for_ready);
        for (size_t i = 0; i < options.metadata_count; ++i)
            context.AddMetadata(perssd::text(options.metadata[i].key), perssd::text(options.metadata[i].value));
    }

    grpc::GenericStub stub;
    std::string path;
    cgrpc_client_callbacks callbacks;
    void *call_context = nullptr;
    grpc::ClientContext context;
    grpc::ByteBuffer incoming;
    grpc::ByteBuffer outgoing;
    Unary unary;
    Stream stream;
};

cgrpc_call *cgrpc_call_create(
    cgrpc_channel *channel, const cgrpc_call_options *options, const cgrpc_client_callbacks *callbacks) {
    try {
        return new cgrpc_call(*channel, *options, *callbacks);
    } catch (...) {
        return nullptr;
    }
}

void cgrpc_call_start_unary(cgrpc_call *call, void *call_context, cgrpc_bytes request) {
    try {
        call->call_context = call_context;
        call->outgoing = perssd::buffer(request);
        call->stub.PrepareUnaryCall(
            &call->context, call->path, grpc::StubOptions(), &call->outgoing, &call->incoming, &call->unary);
        perssd::hand_over(&call->unary);
        call->unary.StartCall();
    } catch (...) {
        perssd::out_of_memory("cgrpc_call_start_unary");
    }
}

void cgrpc_call_start_stream(cgrpc_call *call, void *call_context) {
    try {
        call->call_context = call_context;
        call->stub.PrepareBidiStreamingCall(&call->context, call->path, grpc::StubOptions(), &call->stream);
        call->stream.AddHold();
        perssd::hand_over(&call->stream);
        call->stream.StartCall();
    } catch (...) {
        perssd::out_of_memory("cgrpc_call_start_stream");
    }
}

void cgrpc_call_read(cgrpc_call *call) {
    call->incoming.Clear();
    perssd::hand_over(&call->stream);
    call->stream.StartRead(&call->incoming);
}

void cgrpc_call_write(cgrpc_call *call, cgrpc_bytes message, bool last) {
    try {
        call->outgoing = perssd::buffer(message);
        grpc::WriteOptions options;
        if (last) options.set_last_message();
        perssd::hand_over(&call->stream);
        call->stream.StartWrite(&call->outgoing, options);
    } catch (...) {
        perssd::out_of_memory("cgrpc_call_write");
    }
}

void cgrpc_call_close_writing(cgrpc_call *call) {
    perssd::hand_over(&call->stream);
    call->stream.StartWritesDone();
}

void cgrpc_call_end_operations(cgrpc_call *call) {
    perssd::hand_over(&call->stream);
    call->stream.RemoveHold();
}

void cgrpc_call_cancel(cgrpc_call *call) { call->context.TryCancel(); }

void cgrpc_call_destroy(cgrpc_call *call) { delete call; }
