import Blocking
import Errors
import Foundation
import HTTP

/// What both metadata services answer with, in JSON.
private struct MetadataAnswer: Decodable {
    let accessKeyID: String
    let secretAccessKey: String
    let token: String
    let expiration: String

    private enum CodingKeys: String, CodingKey {
        case accessKeyID = "AccessKeyId"
        case secretAccessKey = "SecretAccessKey"
        case token = "Token"
        case expiration = "Expiration"
    }

    static func credentials(_ response: HTTPResponse, from service: String) throws -> IssuedCredentials {
        guard response.status == 200 else {
            throw PerSSDError(
                response.status >= 500 ? .unavailable : .unauthenticated, "the \(service) answers \(response.status)")
        }
        guard let answer = try? JSONDecoder().decode(Self.self, from: Data(response.body)),
            let expiry = ServerDates.parseInternet(answer.expiration)
        else { throw PerSSDError(.unauthenticated, "the \(service) answers with something other than credentials") }
        return .temporary(
            S3Credentials(
                accessKeyID: answer.accessKeyID, secretAccessKey: answer.secretAccessKey, sessionToken: answer.token),
            expiry: expiry)
    }
}

/// The service that a container platform runs beside its containers.
struct ContainerCredentials: CredentialsProvider {
    let http: HTTPClient
    let environment: [String: String]
    var name: String { "container service" }

    func issue() async throws -> IssuedCredentials {
        let url: String
        if let full = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"], !full.isEmpty {
            guard Self.isAllowed(full) else {
                throw PerSSDError(
                    .unauthenticated, "AWS_CONTAINER_CREDENTIALS_FULL_URI names a host that may not be trusted",
                    remedy: "use https, or http on a loopback or link-local address")
            }
            url = full
        } else if let relative = environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"], !relative.isEmpty {
            url = "http://169.254.170.2\(relative)"
        } else {
            throw CredentialsNotSetUp("AWS_CONTAINER_CREDENTIALS_FULL_URI is not set")
        }
        var request = HTTPRequest(.get, url)
        request.usesProxy = url.hasPrefix("https://")
        request.timeouts = HTTPTimeouts(connect: .seconds(2), total: .seconds(10))
        if let authorization = try await authorization() { request.headers["Authorization"] = authorization }
        return try MetadataAnswer.credentials(try await http.send(request), from: name)
    }

    private func authorization() async throws -> String? {
        guard let file = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"], !file.isEmpty else {
            return environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        }
        let text = try await BlockingPool.shared.run { SmallFile.text(file) }
        guard let text else { throw PerSSDError(.unauthenticated, "the token file '\(file)' cannot be read") }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// A token must not go over the network in the clear.
    static func isAllowed(_ url: String) -> Bool {
        guard let components = URLComponents(string: url), let host = components.host else { return false }
        if components.scheme == "https" { return true }
        let near = ["localhost", "::1", "[::1]", "169.254.170.2", "169.254.170.23", "fd00:ec2::23", "[fd00:ec2::23]"]
        let isLoopback =
            host.hasPrefix("127.") && host.split(separator: ".").count == 4
            && host.allSatisfy { $0.isNumber || $0 == "." }
        return components.scheme == "http" && (near.contains(host) || isLoopback)
    }
}

/// The role of the machine itself, from the instance metadata service, version 2: a token first, then the role's name,
/// then its credentials.
struct InstanceMetadataCredentials: CredentialsProvider {
    let http: HTTPClient
    let environment: [String: String]
    var name: String { "instance metadata" }

    func issue() async throws -> IssuedCredentials {
        guard environment["AWS_EC2_METADATA_DISABLED"]?.lowercased() != "true" else {
            throw CredentialsNotSetUp("AWS_EC2_METADATA_DISABLED is set")
        }
        let named = environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
        let address = try S3EndpointURL(named ?? "http://169.254.169.254")
        let token: String
        do {
            token = try await text(
                .put, "\(address)/latest/api/token", headers: ["X-aws-ec2-metadata-token-ttl-seconds": "21600"])
        } catch let error as PerSSDError where named == nil && error.code == .unavailable {
            throw CredentialsNotSetUp("the machine has no metadata service")
        }
        let headers: HTTPHeaders = ["X-aws-ec2-metadata-token": token]
        let path = "\(address)/latest/meta-data/iam/security-credentials/"
        let role = try await text(.get, path, headers: headers).split(whereSeparator: \.isNewline).first
        guard let role else {
            throw PerSSDError(.unauthenticated, "the machine has no role", remedy: "attach an instance profile to it")
        }
        let response = try await send(.get, path + PercentEncoding.encode(String(role)), headers: headers)
        return try MetadataAnswer.credentials(response, from: name)
    }

    private func text(_ method: HTTPRequest.Method, _ url: String, headers: HTTPHeaders) async throws -> String {
        let response = try await send(method, url, headers: headers)
        guard response.status == 200, let text = String(validating: response.body, as: UTF8.self) else {
            throw PerSSDError(
                response.status >= 500 ? .unavailable : .unauthenticated,
                "the metadata service answers \(response.status) to \(method.rawValue) \(url)")
        }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func send(
        _ method: HTTPRequest.Method, _ url: String, headers: HTTPHeaders
    ) async throws -> HTTPResponse {
        var request = HTTPRequest(method, url, headers: headers, body: method == .put ? [] : nil)
        // Through a proxy it would be the proxy's machine that answers.
        request.usesProxy = false
        request.timeouts = HTTPTimeouts(connect: .seconds(1), total: .seconds(5))
        return try await http.send(request)
    }
}
