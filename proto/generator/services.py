"""Services as Swift source: a protocol to implement, its methods for a server, and a client."""

import names


class Service:
    def __init__(self, proto, docs, path):
        self.name, self.doc = proto.name, docs.get(path, "")
        self.methods = [Method(self.name, rpc, docs.get((*path, 2, i), "")) for i, rpc in enumerate(proto.method)]

    def source(self):
        return [
            *self._protocol(), "", *self._defaults(), "", *self._server(), "", *self._client(),
        ]

    def _protocol(self):
        lines = names.comment(self.doc + " What is not implemented is answered with UNIMPLEMENTED.")
        lines.append(f"public protocol {self.name}Service: Sendable {{")
        for method in self.methods:
            lines += [*names.comment(method.doc, 4), *method.signature()]
        return lines + ["}"]

    def _defaults(self):
        lines = [f"extension {self.name}Service {{"]
        for method in self.methods:
            *signature, last = method.signature()
            lines += ["    public " + signature[0].lstrip(), *signature[1:], last + " {"]
            lines += [f'        throw RPCStatus(unimplemented: "{method.name}")', "    }", ""]
        return lines[:-1] + ["}"]

    def _server(self):
        lines = names.comment(
            f"The methods of the service {self.name}, for an RPC server. The observer is told of each call.")
        lines += [
            f"public func {names.method_name(self.name)}Methods(",
            f"    _ service: some {self.name}Service, observer: (any CallObserver)? = nil",
            ") -> [RPCMethod] {", "    [",
        ]
        for method in self.methods:
            kind, arguments = ("serverStreaming", "$0, context: $1, responses: $2") if method.streaming else (
                "unary", "$0, context: $1")
            lines += [
                f'        {kind}Method("{method.path}", observer) {{',
                f"            try await service.{method.swift_name}({arguments})", "        },",
            ]
        return lines + ["    ]", "}"]

    def _client(self):
        lines = names.comment(f"Calls the service {self.name}. Failed calls throw `RPCStatus`.")
        lines += [f"public struct {self.name}Client: Sendable {{", "    public let channel: any RPCChannel", ""]
        lines += ["    public init(_ channel: any RPCChannel) { self.channel = channel }"]
        for method in self.methods:
            call = "responses" if method.streaming else "try await response"
            lines += [
                "", *names.comment(method.doc, 4),
                f"    public func {method.swift_name}(",
                f"        _ request: {method.input}, options: RPCCallOptions = RPCCallOptions()",
                f"    ) {method.client_result} {{",
                f'        {call}(on: channel, "{method.path}", request, options)', "    }",
            ]
        return lines + ["}"]


class Method:
    def __init__(self, service, proto, doc):
        if proto.client_streaming:
            raise ValueError(f"{service}.{proto.name}: streams of requests are not supported")
        self.name, self.doc, self.streaming = proto.name, doc, proto.server_streaming
        self.swift_name = names.method_name(proto.name)
        self.path = f"/{names.PACKAGE}.{service}/{proto.name}"
        self.input = names.swift_type_path(proto.input_type)
        self.output = names.swift_type_path(proto.output_type)

    def signature(self):
        first = [f"    func {self.swift_name}(", f"        _ request: {self.input}, context: RPCContext"]
        if self.streaming:
            first[-1] += ","
            return [*first, f"        responses: ResponseWriter<{self.output}>", "    ) async throws"]
        return [*first, f"    ) async throws -> {self.output}"]

    @property
    def client_result(self):
        if self.streaming:
            return f"-> some AsyncSequence<{self.output}, any Error>"
        return f"async throws -> {self.output}"
