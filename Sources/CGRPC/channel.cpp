// A client's channel.

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include "channel.hpp"

cgrpc_channel *cgrpc_channel_create(
    const char *target, const cgrpc_tls *tls, const cgrpc_channel_options *options) {
    try {
        perssd::quiet_log();
        grpc::ChannelArguments arguments;
        arguments.SetMaxReceiveMessageSize(options->max_receive_bytes);
        arguments.SetMaxSendMessageSize(options->max_send_bytes);
        arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, options->keepalive_time_ms);
        arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options->keepalive_timeout_ms);
        arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
        arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
        arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, options->max_reconnect_backoff_ms);
        // A channel's troubles are its own: without this, one in backoff would hold up others to the same target.
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        // Nodes talk to each other directly, whatever proxy the environment names for the outside world.
        arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
        // Room for long status messages and their details.
        arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, 64 * 1024);
        if (tls != nullptr && tls->server_name.count != 0)
            arguments.SetSslTargetNameOverride(perssd::text(tls->server_name));
        auto channel = grpc::CreateCustomChannel(target, perssd::channel_credentials(tls), arguments);
        // What gRPC can't use (TLS parts, above all) makes a channel that is dead from birth.
        if (!channel || channel->GetState(false) == GRPC_CHANNEL_SHUTDOWN) return nullptr;
        return new cgrpc_channel(std::move(channel));
    } catch (...) {
        return nullptr;
    }
}

void cgrpc_channel_destroy(cgrpc_channel *channel) { delete channel; }
