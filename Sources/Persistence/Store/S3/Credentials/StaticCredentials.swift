import Blocking
import Errors
import Foundation

/// The three values that make credentials, by the names they have in an environment and in files.
struct CredentialsFields {
    static let keyID = "AWS_ACCESS_KEY_ID"
    static let secret = "AWS_SECRET_ACCESS_KEY"
    static let token = "AWS_SESSION_TOKEN"

    /// - Parameters:
    ///   - value: what a name stands for; nil or empty where it is not set. White space around it does not count.
    ///   - place: for messages.
    /// - Throws: `CredentialsNotSetUp` where neither of the two keys is set, `unauthenticated` where only one is.
    static func credentials(in place: String, _ value: (String) -> String?) throws -> S3Credentials {
        func read(_ name: String) -> String? {
            let text = value(name)?.trimmingCharacters(in: .whitespacesAndNewlines)
            return text?.isEmpty == false ? text : nil
        }
        switch (read(keyID), read(secret)) {
        case (nil, nil): throw CredentialsNotSetUp("\(keyID) is not set")
        case (nil, _): throw incomplete(place, missing: keyID)
        case (_, nil): throw incomplete(place, missing: secret)
        case (let id?, let key?):
            return S3Credentials(accessKeyID: id, secretAccessKey: key, sessionToken: read(token))
        }
    }

    private static func incomplete(_ place: String, missing: String) -> PerSSDError {
        PerSSDError(
            .unauthenticated, "the credentials in the \(place) lack \(missing)",
            remedy: "set both \(keyID) and \(secret)")
    }
}

struct EnvironmentCredentials: CredentialsProvider {
    let environment: [String: String]
    var name: String { "environment" }

    func issue() async throws -> IssuedCredentials {
        IssuedCredentials(credentials: try CredentialsFields.credentials(in: name) { environment[$0] })
    }
}

/// A directory with a file for each value. It is read anew every few seconds, and when a server refuses what it held:
/// that is how a Secret that was changed gets here.
struct MountedCredentials: CredentialsProvider {
    let directory: String
    var name: String { "directory '\(directory)'" }

    func issue() async throws -> IssuedCredentials {
        try await BlockingPool.shared.run {
            let credentials = try CredentialsFields.credentials(in: name) { name in
                SmallFile.text("\(directory)/\(name)")
            }
            return .fromFile(credentials)
        }
    }
}

/// A file with profiles, as AWS's own tools write it: `[profile]`, then lines `name = value`; `#` and `;` begin comments.
struct SharedFileCredentials: CredentialsProvider {
    private let path: String?
    private let profile: String
    /// Whether somebody named the file or the profile, so that neither may be missing.
    private let isDemanded: Bool
    var name: String { path.map { "shared file '\($0)'" } ?? "shared file" }

    init(path: String?, profile: String?, environment: [String: String]) {
        let namedPath = path ?? environment["AWS_SHARED_CREDENTIALS_FILE"]
        let namedProfile = profile ?? environment["AWS_PROFILE"]
        self.path = namedPath ?? environment["HOME"].map { "\($0)/.aws/credentials" }
        self.profile = namedProfile ?? "default"
        isDemanded = namedPath != nil || namedProfile != nil
    }

    func issue() async throws -> IssuedCredentials {
        guard let path else { throw CredentialsNotSetUp("HOME is not set") }
        return try await BlockingPool.shared.run {
            guard let text = SmallFile.text(path) else { throw missing("it cannot be read") }
            guard let values = Self.values(of: profile, in: text) else {
                throw missing("it has no profile '\(profile)'")
            }
            do {
                let credentials = try CredentialsFields.credentials(in: "profile '\(profile)' of the \(name)") {
                    values[$0.lowercased()]
                }
                return .fromFile(credentials)
            } catch is CredentialsNotSetUp {
                throw missing("its profile '\(profile)' has no aws_access_key_id")
            }
        }
    }

    private func missing(_ reason: String) -> any Error {
        isDemanded
            ? PerSSDError(.unauthenticated, "no credentials in the \(name): \(reason)") : CredentialsNotSetUp(reason)
    }

    /// - Returns: names in lower case and their values, nil where there is no such profile.
    static func values(of profile: String, in text: String) -> [String: String]? {
        var values: [String: String]?
        var isInside = false
        for line in text.split(whereSeparator: \.isNewline) {
            let line = line.trimmingCharacters(in: .whitespaces)
            if line.hasPrefix("["), let end = line.firstIndex(of: "]") {
                let section = line[line.index(after: line.startIndex)..<end].trimmingCharacters(in: .whitespaces)
                isInside = section == profile
                if isInside { values = values ?? [:] }
            } else if isInside, !line.hasPrefix("#"), !line.hasPrefix(";"), let mark = line.firstIndex(of: "=") {
                let name = line[..<mark].trimmingCharacters(in: .whitespaces).lowercased()
                values?[name] = line[line.index(after: mark)...].trimmingCharacters(in: .whitespaces)
            }
        }
        return values
    }
}

/// Files that hold a secret or a token.
enum SmallFile {
    /// - Returns: nil where it cannot be read, is longer than 1 MiB, or is no UTF-8. Blocks.
    static func text(_ path: String) -> String? {
        guard let handle = FileHandle(forReadingAtPath: path) else { return nil }
        defer { try? handle.close() }
        let limit = 1 << 20
        guard let data = try? handle.read(upToCount: limit + 1), data.count <= limit else { return nil }
        return String(validating: data, as: UTF8.self)
    }
}
