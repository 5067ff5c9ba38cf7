import Errors
import Persistence

/// A store and how to reach it.
public struct StoreSettings: Sendable, Equatable {
    public var location: StoreLocation
    /// S3 only, as what follows: "https://host:port"; nil for AWS.
    public var endpoint: String?
    /// nil for `defaultRegion`.
    public var region: String?
    public var addressing: S3Configuration.Addressing
    /// A PEM file of the authorities to trust in place of the system's.
    public var certificateAuthorities: String?
    /// A directory with the files `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and perhaps `AWS_SESSION_TOKEN`, such as a
    /// mounted Secret; nil to look in the usual places.
    public var credentialsDirectory: String?
    /// Of the shared credentials file, which is then the only place that is looked in.
    public var profile: String?
    /// How many requests run at the same time; nil for the S3 client's default.
    public var parallelRequests: Int?

    public static let defaultRegion = "us-east-1"

    public init(location: StoreLocation) {
        self.location = location
        addressing = .automatic
    }

    /// - Throws: `invalidArgument` where no store is given, or what is given is no store.
    init(_ values: [Setting: Given]) throws {
        guard let given = values[.storeLocation] else {
            throw PerSSDError(
                .invalidArgument, "no store is given",
                remedy: "give --store s3://bucket/prefix or --store file:///shared/directory, the environment variable "
                    + "PERSSD_STORE, or store.location in the configuration file")
        }
        self.init(location: try StoreLocation(parsing: given))
        endpoint = values[.storeEndpoint]?.text
        region = values[.storeRegion]?.text
        if let given = values[.storeAddressing] { addressing = try given.choice(S3Configuration.Addressing.allCases) }
        certificateAuthorities = try values[.storeCertificateAuthorities]?.absolutePath()
        credentialsDirectory = try values[.storeCredentialsDirectory]?.absolutePath()
        profile = values[.storeProfile]?.text
        parallelRequests = try values[.storeParallelRequests]?.number(in: 1...1024)
        if credentialsDirectory != nil, let profile = values[.storeProfile] {
            throw PerSSDError(
                .invalidArgument, "\(profile.source): the credentials are to come from a directory already",
                remedy: "give either a credentials directory or a profile")
        }
        if case .s3(let bucket, let prefix) = location {
            do {
                _ = try s3Configuration(bucket: bucket, prefix: prefix)
            } catch let error as PerSSDError {
                throw error.during("the store of \(given.source) cannot be used")
            }
        }
    }
}

extension StoreSettings {
    func s3Configuration(bucket: String, prefix: String) throws -> S3Configuration {
        var configuration = try S3Configuration(
            bucket: bucket, prefix: prefix, endpoint: endpoint, region: region ?? Self.defaultRegion)
        configuration.addressing = addressing
        configuration.certificateAuthorities = certificateAuthorities
        if let credentialsDirectory {
            configuration.credentials = .directory(credentialsDirectory)
        } else if let profile {
            configuration.credentials = .sharedFile(path: nil, profile: profile)
        }
        if let parallelRequests { configuration.maximumRequests = parallelRequests }
        return configuration
    }
}

extension Given {
    func absolutePath() throws -> String {
        guard text.hasPrefix("/"), !text.utf8.contains(0) else {
            throw PerSSDError(
                .invalidArgument, "\(source): '\(text.prefix(200))' is not an absolute path",
                remedy: "give a path that begins with '/'")
        }
        return text
    }
}
