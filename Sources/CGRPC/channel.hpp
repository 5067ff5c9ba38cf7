// A channel as the client's parts see it.

#pragma once

#include <grpcpp/generic/generic_stub.h>

#include "internal.hpp"

struct cgrpc_channel {
    explicit cgrpc_channel(std::shared_ptr<grpc::Channel> channel) : stub(std::move(channel)) {}

    grpc::GenericStub stub;
};
