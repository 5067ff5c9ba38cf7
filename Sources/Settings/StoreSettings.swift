import Errors
import Persistence

/// A store and how to reach it.
public struct StoreSettings: Sendable, Equatable {
    public var location: StoreLocation
    /// S3 only, as what follows: "https://host:port"; nil for AWS.
    public var endpoint: String?
    /// nil for the S3 client's default.
    public var region: String?
    public var addressing: S3Configuration.Addressing
    /// A PEM file of the authorities to trust in place of the system's.
    public var certificateAuthorities: String?
    /// A directory with the files `accessKeyID`, `secretAccessKey` and perhaps `sessionToken`, such as a mounted Secret;
    /// nil to look at the usual places.
    public var credentialsDirectory: String?
    /// Of the shared credentials file.
    public var profile: String?
    /// How many requests run at the same time; nil for the S3 client's default.
    public var parallelRequests: Int?

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
        if case .s3 = location {
            do {
                _ = try s3Configuration()
            } catch let error as PerSSDError {
                throw error.during("the store \(location) of \(given.source) cannot be used")
            }
        }
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
