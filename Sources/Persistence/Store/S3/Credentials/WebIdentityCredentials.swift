import Blocking
import Errors
import Foundation
import HTTP
import XMLCoder

/// A token that says who a pod is, exchanged for temporary credentials (STS, AssumeRoleWithWebIdentity).
struct WebIdentityCredentials: CredentialsProvider {
    let http: HTTPClient
    let region: String
    let environment: [String: String]
    var name: String { "web identity" }

    private struct Response: Decodable {
        struct Result: Decodable {
            let credentials: Issued
        }
        struct Issued: Decodable {
            let accessKeyId: String
            let secretAccessKey: String
            let sessionToken: String
            let expiration: String
        }
        let assumeRoleWithWebIdentityResult: Result
    }

    func issue() async throws -> IssuedCredentials {
        guard let file = environment["AWS_WEB_IDENTITY_TOKEN_FILE"], !file.isEmpty else {
            throw CredentialsNotSetUp("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
        }
        guard let role = environment["AWS_ROLE_ARN"], !role.isEmpty else {
            throw PerSSDError(
                .unauthenticated, "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not",
                remedy: "set AWS_ROLE_ARN to the role to assume")
        }
        // Read each time: the platform replaces the token before it expires.
        let token = try await BlockingPool.shared.run { SmallFile.text(file) }
        guard let token = token?.trimmingCharacters(in: .whitespacesAndNewlines), !token.isEmpty else {
            throw PerSSDError(.unauthenticated, "the token file '\(file)' cannot be read or is empty")
        }
        let response = try await http.send(try request(role: role, token: token))
        guard response.status == 200 else {
            let failure = S3Failure(response)
            throw PerSSDError(
                response.status >= 500 ? .unavailable : .unauthenticated,
                "the token service answers \(response.status) \(failure.code) \(failure.message.prefix(300))",
                remedy: "check that the role '\(role)' trusts this identity")
        }
        guard let answer = try? XMLDecoder.capitalized.decode(Response.self, from: Data(response.body)),
            case let issued = answer.assumeRoleWithWebIdentityResult.credentials,
            let expiry = ServerDates.parseInternet(issued.expiration)
        else { throw PerSSDError(.unauthenticated, "the token service answers with something other than credentials") }
        let credentials = S3Credentials(
            accessKeyID: issued.accessKeyId, secretAccessKey: issued.secretAccessKey,
            sessionToken: issued.sessionToken)
        return .temporary(credentials, expiry: expiry)
    }

    /// Not signed: the token itself says who asks.
    private func request(role: String, token: String) throws -> HTTPRequest {
        let address =
            try environment["AWS_ENDPOINT_URL_STS"].map { try S3EndpointURL($0) }
            ?? S3EndpointURL("https://sts.\(region).amazonaws.com\(region.hasPrefix("cn-") ? ".cn" : "")")
        let fields = [
            ("Action", "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"), ("RoleArn", role),
            ("RoleSessionName", environment["AWS_ROLE_SESSION_NAME"] ?? "perssd"), ("WebIdentityToken", token),
        ]
        let form = fields.map { "\($0.0)=\(PercentEncoding.encode($0.1))" }.joined(separator: "&")
        var request = HTTPRequest(
            .post, "\(address)/", headers: ["Content-Type": "application/x-www-form-urlencoded"],
            body: ArraySlice(form.utf8))
        request.timeouts.total = .seconds(30)
        return request
    }
}
